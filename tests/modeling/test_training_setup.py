"""The model warns once, at its first training step, of what the training lacks."""

import copy
import logging
import pickle

import pytest
import torch
from detectron2.utils.events import EventStorage

from reldn_d2.engine import relation_optimizer_params
from reldn_d2.modeling import RelDN
from tests.builders.tiny_models import TinyConfig, make_input, make_model

NAME = "reldn_d2.modeling.training_setup"
RELATED, EMPTY = make_input(4, [(0, 1, 0)]), make_input(4, [], seed=1)


def step(model: RelDN, *inputs: dict[str, object]) -> None:
    with EventStorage():
        model.train()(list(inputs))


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == NAME]


@pytest.fixture
def model(tiny_config: TinyConfig) -> RelDN:
    """A model that lacks nothing."""
    made = make_model(tiny_config())
    made.load_state_dict(made.state_dict())
    relation_optimizer_params(made, base_lr=0.1, weight_decay=0.0)
    return made


def test_one_warning_lists_everything(tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture) -> None:
    model = make_model(tiny_config())
    for _ in range(2):
        step(model, RELATED, EMPTY)
    (warning,) = messages(caplog)
    assert warning.count("\n  * ") == 3
    for remedy in ("RelationCheckpointer", "relation_optimizer_params", "prepare_training_relations"):
        assert remedy in warning


def test_a_detector_that_requires_a_gradient_is_said(model: RelDN, caplog: pytest.LogCaptureFixture) -> None:
    model.train()
    model.backbone.requires_grad_(True)  # after `train`, which would freeze it again
    with EventStorage():
        model([RELATED])
    (warning,) = messages(caplog)
    assert warning.count("\n  * ") == 1 and "require a gradient" in warning and "stage 1" in warning


def test_a_later_image_without_relationships_is_seen(model: RelDN, caplog: pytest.LogCaptureFixture) -> None:
    step(model, RELATED)
    assert messages(caplog) == []
    for _ in range(2):
        step(model, RELATED, EMPTY)
    (warning,) = messages(caplog)
    assert warning.count("\n  * ") == 1 and "prepare_training_relations" in warning


def test_relationships_that_a_crop_dropped_are_no_mistake(
    model: RelDN, caplog: pytest.LogCaptureFixture
) -> None:
    step(model, RELATED, {**EMPTY, "lost_relations": 2})
    assert messages(caplog) == []


def test_the_model_remembers_parts_that_were_loaded_one_after_the_other(
    tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture
) -> None:
    model = torch.nn.ModuleDict({"inner": make_model(tiny_config())})
    inner: RelDN = model["inner"]  # type: ignore[assignment]
    relation_optimizer_params(inner, base_lr=0.1, weight_decay=0.0)
    parts: list[dict[str, torch.Tensor]] = [{}, {}]
    for name, value in model.state_dict().items():
        parts["backbone" in name][name] = value
    for part in parts:
        model.load_state_dict(part, strict=False)
    step(inner, RELATED)
    assert messages(caplog) == []


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_know_what_the_model_knew(
    model: RelDN, clone: object, caplog: pytest.LogCaptureFixture
) -> None:
    step(clone(model), RELATED)  # type: ignore[operator]
    assert messages(caplog) == []


def test_a_copy_has_a_setup_of_its_own(tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture) -> None:
    first = make_model(tiny_config())
    second = copy.deepcopy(first)
    second.load_state_dict(second.state_dict())
    relation_optimizer_params(second, base_lr=0.1, weight_decay=0.0)
    step(second, RELATED)
    assert messages(caplog) == []
    step(first, RELATED)
    assert len(messages(caplog)) == 1


def test_without_a_predicate_backbone_its_rate_does_not_matter(
    tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture
) -> None:
    visual = "MODEL.ROI_RELATION_HEAD.VISUAL"
    model = make_model(tiny_config(f"{visual}.FUSED", "False"))
    model.load_state_dict(model.state_dict())
    step(model, RELATED)
    assert messages(caplog) == []


def test_who_means_it_switches_it_off(tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture) -> None:
    model = make_model(tiny_config())
    model.training_setup.warns = False
    step(model, EMPTY)
    assert messages(caplog) == []


def test_it_is_a_warning_of_the_package(tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture) -> None:
    step(make_model(tiny_config()), RELATED)
    (record,) = [x for x in caplog.records if x.name == NAME]
    assert record.levelno == logging.WARNING
