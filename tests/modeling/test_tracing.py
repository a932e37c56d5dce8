"""RelDN in Detectron2's tools that trace a model, as for counting FLOPs (tools/analyze_model.py)."""

import pytest
import torch
from detectron2.export import TracingAdapter
from detectron2.modeling import build_model
from detectron2.utils.analysis import FlopCountAnalysis, activation_count_operators, flop_count_operators

from tests.builders.tiny_models import TinyConfig, make_input, make_model
from tests.modeling.test_region_heads import KINDS, config

pytestmark = [
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    # About PyTorch's tracer itself.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
PARTS = ("backbone", "proposal_generator", "roi_heads", "relation_backbone", "relation_head")


@pytest.mark.parametrize("kind", ["standard", "cascade with masks", "C4"])
def test_flops_are_counted_in_every_task(tiny_config: TinyConfig, kind: str) -> None:
    model = make_model(config(tiny_config, KINDS[kind])).eval()
    for task in ("sgdet", "sgcls", "prdcls"):
        model.task = task
        flops = FlopCountAnalysis(model, [make_input(4, []), make_input(3, [], seed=1)])
        flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_part = flops.by_module()
        # The predicate backbone is a copy of the detector's backbone.
        assert by_part["model.relation_backbone"] == by_part["model.backbone"] > 0
        assert by_part["model.relation_head.pair_classifier.predicate_head"] > 0
        assert sum(by_part[f"model.{part}"] for part in PARTS) <= flops.total()


def test_detectron2s_tool_counts_more_than_for_the_detector(tiny_config: TinyConfig) -> None:
    cfg = config(tiny_config, [])
    model = make_model(cfg).eval()
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    detector = build_model(cfg).eval()
    detector.load_state_dict(model.state_dict(), strict=False)
    inputs = [{"image": make_input(1, [])["image"]}]
    for count in (flop_count_operators, activation_count_operators):
        whole, part = count(model, inputs), count(detector, inputs)
        for operator in ("conv", "linear"):
            # Both run the same detector, then RelDN a second backbone and a head.
            assert whole[operator] > 1.3 * part[operator] > 0, (count.__name__, operator)


def test_a_trace_answers_as_the_model_for_its_own_image(tiny_config: TinyConfig) -> None:
    model = make_model(config(tiny_config, [])).eval()
    inputs = [{"image": make_input(1, [])["image"]}]
    adapter = TracingAdapter(model, inputs)
    # The check would run the model without tracing, where its outputs hold their task, a text.
    traced = torch.jit.trace(adapter, adapter.flattened_inputs, check_trace=False)
    (found,) = adapter.outputs_schema(traced(*adapter.flattened_inputs))
    (expected,) = model(inputs)
    assert set(found) == {"instances", "relations"} == set(expected) - {"task"}
    assert torch.equal(found["instances"].pred_boxes.tensor, expected["instances"].pred_boxes.tensor)
    for name, value in expected["relations"].get_fields().items():
        assert torch.equal(found["relations"].get(name), value), name
