"""Configs in Python: the same model, data and training as their YAML, and the same refusals."""

import argparse
import importlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.data import DatasetCatalog
from detectron2.engine import default_argument_parser
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler
from torch import nn

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.data import ResumableTrainLoader, save_detections, with_queries
from reldn_d2.data.statistics import predicate_counts
from reldn_d2.engine import Trainer, evaluate, load_config, parts_of, vocabulary_of
from reldn_d2.engine.lazy import load_lazy_config
from reldn_d2.engine.optimizer import relation_optimizer_params
from reldn_d2.engine.run_identity import run_identity
from tests.builders.processes import run_in_processes
from tests.builders.tiny_models import REPOSITORY, TinyConfig, make_input, make_model

LAZY = REPOSITORY / "configs" / "lazy"
SCENES = str(LAZY / "scenes_reldn.py")
TINY_LAZY = str(REPOSITORY / "tests" / "builders" / "tiny_lazy.py")

LazyOverrides = Callable[..., list[str]]


@pytest.fixture
def weights(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """A complete RelDN checkpoint."""
    vocabulary = vocabulary_of("reldn_scenes_tiny_train")
    RelationCheckpointer(make_model(tiny_config()), str(tmp_path), vocabulary=vocabulary).save("reldn")
    return str(tmp_path / "reldn.pth")


@pytest.fixture
def detector(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """A checkpoint of the detector alone."""
    state = make_model(tiny_config(), seed=3).state_dict()
    kept = {name: value for name, value in state.items() if not name.startswith("relation_")}
    torch.save({"model": kept}, tmp_path / "detector.pth")
    return str(tmp_path / "detector.pth")


@pytest.fixture
def overrides(tmp_path: Path) -> LazyOverrides:
    def make(*more: str) -> list[str]:
        return [f"train.output_dir={tmp_path / 'lazy'}", *more]

    return make


def train(cfg: Any) -> None:
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()


def identity_of(cfg: Any, images: list[dict[str, Any]]) -> dict[str, str]:
    parts = parts_of(cfg)
    return run_identity(parts.settings(), parts.free_keys(), images)


def run_train_net(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """`train_net.py` with these arguments."""
    monkeypatch.syspath_prepend(str(REPOSITORY))
    module = importlib.import_module("train_net")
    return module.main(default_argument_parser().parse_args(["--config-file", *arguments]))


def plain(value: Any) -> Any:
    """The values that an object was built with, as numbers, strings, lists and dicts."""
    if isinstance(value, partial):
        return [value.func.__qualname__, plain(value.keywords)]
    if isinstance(value, Mapping):
        return {key: plain(x) for key, x in value.items()}
    if isinstance(value, (Sequence, frozenset)) and not isinstance(value, str):
        return [plain(x) for x in value]
    if value is None or isinstance(value, (int, float, str)):
        return value
    if isinstance(value, (nn.Module, torch.Tensor)) or callable(value) or not hasattr(value, "__dict__"):
        return type(value).__name__
    return [type(value).__name__, plain(vars(value))]


def settings_of(model: nn.Module) -> dict[str, Any]:
    """Every attribute of every module, by name."""
    # Only one of the configs writes out a loss weight of 1. Frozen parts are checked elsewhere.
    excluded = {"training", "loss_weight"}
    return {
        f"{name}.{key} ({type(module).__name__})": plain(value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if not key.startswith("_") and key not in excluded
    }


def hyperparameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """The optimizer's settings of each parameter, by name."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


@pytest.fixture
def both() -> tuple[Any, Any]:
    """The scenes' config as YAML and in Python, full size."""
    yaml = load_config(str(REPOSITORY / "configs" / "scenes" / "reldn.yaml"))
    return yaml, load_lazy_config(SCENES)


def test_the_scenes_config_describes_the_model_of_the_yaml(both: tuple[Any, Any]) -> None:
    yaml, lazy = both
    from_yaml, from_lazy = build_model(yaml), instantiate(lazy.model)
    assert str(from_lazy) == str(from_yaml)
    expected, found = settings_of(from_yaml), settings_of(from_lazy)
    assert len(expected) > 300
    assert found == expected
    shapes = [
        {name: (x.shape, x.requires_grad) for name, x in m.named_parameters()} for m in (from_yaml, from_lazy)
    ]
    assert shapes[0] == shapes[1]
    buffers = [dict(m.named_buffers()) for m in (from_yaml, from_lazy)]  # anchors, means of pixels
    assert buffers[0].keys() == buffers[1].keys() and "pixel_mean" in buffers[0]
    for name, value in buffers[0].items():
        assert torch.equal(value, buffers[1][name]), name


def test_the_scenes_config_describes_the_schedule_of_the_yaml(both: tuple[Any, Any]) -> None:
    yaml, lazy = both
    with torch.device("meta"):
        model = instantiate(lazy.model)
    expected = Trainer.build_optimizer(yaml, model)
    lazy.optimizer.params.model = model
    optimizer = instantiate(lazy.optimizer)
    assert type(optimizer) is type(expected)
    assert hyperparameters(model, optimizer) == hyperparameters(model, expected)

    scheduler = build_lr_scheduler(yaml, expected)
    multiplier = instantiate(lazy.lr_multiplier)
    assert lazy.train.max_iter == yaml.SOLVER.MAX_ITER
    assert lazy.train.checkpointer.period == yaml.SOLVER.CHECKPOINT_PERIOD
    for iteration in range(yaml.SOLVER.MAX_ITER):
        expected_factor = scheduler._multiplier(iteration / yaml.SOLVER.MAX_ITER)
        assert multiplier(iteration / lazy.train.max_iter) == pytest.approx(expected_factor, rel=1e-9)


def test_the_scenes_config_describes_the_data_of_the_yaml(
    both: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    yaml, lazy = both
    tiny = DatasetCatalog.get("reldn_scenes_tiny_train")
    for name in ("reldn_scenes_train", "reldn_scenes_test"):
        monkeypatch.setitem(DatasetCatalog.data, name, lambda: tiny)
    yaml.OUTPUT_DIR = lazy.train.output_dir
    assert [*yaml.DATASETS.TRAIN, *yaml.DATASETS.TEST] == [*lazy.datasets.train, lazy.datasets.test]
    expected = Trainer.build_train_loader(yaml)
    found = Trainer.parts_of(lazy).train_loader(instantiate(lazy.dataloader.train.dataset))
    assert type(found) is type(expected) is ResumableTrainLoader
    settings = ("batch_size", "groups_by_aspect_ratio", "options")
    assert [getattr(found, x) for x in settings] == [getattr(expected, x) for x in settings]
    assert (found.batch_size, found.groups_by_aspect_ratio, found.options) == (8, True, {"num_workers": 0})
    np.testing.assert_array_equal(
        instantiate(lazy.dataloader.statistics), predicate_counts(tiny, num_classes=6, num_predicates=7)
    )
    evaluators = [Trainer.build_evaluator(yaml, "reldn_scenes_test"), instantiate(lazy.dataloader.evaluator)]
    inputs = [
        list(Trainer.build_test_loader(yaml, "reldn_scenes_test")),
        list(with_queries(instantiate(lazy.dataloader.test), evaluators[1].queries)),
    ]
    assert [len(batch) for batch in inputs[0]] == [len(batch) for batch in inputs[1]] == [8, 8]
    for one, other in zip(*(itertools.chain(*batches) for batches in inputs), strict=True):
        assert one.keys() == other.keys()
        assert torch.equal(one["queries"].triplets, other["queries"].triplets)
        for key in ("image", "relations"):
            assert torch.equal(one[key], other[key]), key
    assert evaluators[0].queries.keys() == evaluators[1].queries.keys()
    assert plain(vars(evaluators[0])) == plain(vars(evaluators[1]))


@pytest.fixture
def batches() -> list[list[dict[str, Any]]]:
    relations = [(0, 1, 2), (2, 1, 0), (3, 0, 6), (1, 2, 2)]
    return [
        [make_input(5, relations, seed=2 * i), make_input(4, relations[:2], seed=2 * i + 1)] for i in range(3)
    ]


def seeded(batches: list[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    """Batches. The random numbers are seeded before each, so that both trainings draw the same."""
    for i, batch in enumerate(batches):
        torch.manual_seed(i)
        yield batch


def test_both_configs_train_alike(
    weights: str,
    tiny_config: TinyConfig,
    overrides: LazyOverrides,
    batches: list[list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    """Warm-up, full rate and a tenth of it; then the evaluation."""
    few = "MODEL.ROI_RELATION_HEAD.SAMPLING.PARTNERS_PER_ANCHOR"  # few partners, so that the draws are random
    cfg = tiny_config(
        *("MODEL.WEIGHTS", weights, "SOLVER.BASE_LR", "0.01", "SOLVER.PREDICATE_BACKBONE_LR_FACTOR", "0.1"),
        *("SOLVER.MAX_ITER", "3", "SOLVER.WARMUP_ITERS", "1", "SOLVER.STEPS", "(2,)", few, "1"),
        *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "MODEL.ROI_RELATION_HEAD.TEST.TASK", "prdcls"),
    )
    from_yaml = Trainer(cfg)
    from_yaml.resume_or_load(resume=False)
    from_yaml._trainer._data_loader_iter_obj = seeded(batches)
    from_yaml.train()

    options = [
        *(f"train.init_checkpoint={weights}", "optimizer.params.predicate_backbone_lr_factor=0.1"),
        *("model.relation_head.sample_pairs.partners_per_anchor=1", "model.task=prdcls"),
        "model.roi_heads.box_predictor.test_score_thresh=0.0",
    ]
    from_lazy = Trainer(load_lazy_config(TINY_LAZY, overrides(*options)))
    from_lazy.resume_or_load(resume=False)
    from_lazy._trainer._data_loader_iter_obj = seeded(batches)
    from_lazy.train()

    expected, found = from_yaml.storage, from_lazy.storage
    losses = [name for name in expected.latest() if "loss" in name]
    assert len(losses) == 5  # four, and their sum
    for name in [*losses, "lr"]:
        assert found.history(name).values() == expected.history(name).values(), name
        assert len(found.history(name).values()) == 3
    before = torch.load(weights)["model"]
    after = [torch.load(tmp_path / run / "model_final.pth")["model"] for run in ("run", "lazy")]
    assert after[0].keys() == after[1].keys()
    changed = [name for name, value in after[0].items() if not torch.equal(value, before[name])]
    assert any(name.startswith("relation_backbone.") for name in changed)
    for name, value in after[0].items():
        assert torch.equal(value, after[1][name]), name
    metrics = {name: value for name, (value, _) in expected.latest().items() if name.startswith("prdcls/")}
    assert metrics["prdcls/motifs/R@50"] > 0
    assert {name: found.latest()[name][0] for name in metrics} == pytest.approx(metrics, nan_ok=True)


def test_learning_rates_and_decay_follow_the_recipe(tiny_config: TinyConfig) -> None:
    head = "MODEL.ROI_RELATION_HEAD"
    model = make_model(tiny_config(f"{head}.FREEZE_NORM", "False", f"{head}.SEMANTIC.LEARNABLE", "True"))
    groups = relation_optimizer_params(
        model,
        base_lr=1.0,
        weight_decay=0.5,
        weight_decay_norm=0.25,
        weight_decay_bias=0.125,
        bias_lr_factor=2.0,
        predicate_backbone_lr_factor=0.1,
    )
    found = hyperparameters(model, torch.optim.SGD(groups, 1.0))
    trained = [name for name, x in model.named_parameters() if x.requires_grad]
    assert set(found) == set(trained) and len(trained) > 50
    for name in trained:
        slow = name.startswith(("relation_backbone.", "relation_head.pair_classifier.predicate_head."))
        is_bias, is_table, is_norm = name.endswith("bias"), name.endswith("log_prior"), ".norm." in name
        decay = 0.125 if is_bias else 0.0 if is_table else 0.25 if is_norm else 0.5
        rate = (0.1 if slow else 1.0) * (2.0 if is_bias or is_table else 1.0)
        assert (found[name]["lr"], found[name]["weight_decay"]) == pytest.approx((rate, decay)), name
    assert any(".norm." in name for name in trained) and any("log_prior" in name for name in trained)

    same = relation_optimizer_params(model, base_lr=1.0, weight_decay=0.5)
    rates = hyperparameters(model, torch.optim.SGD(same, 1.0))
    assert rates["relation_head.pair_classifier.spatial.mlp.0.bias"]["weight_decay"] == 0.5
    assert rates["relation_head.pair_classifier.spatial.mlp.0.bias"]["lr"] == 1.0


def test_a_checkpoint_of_any_optimizer_holds_plain_python(tmp_path: Path) -> None:
    """PyTorch converts lists of OmegaConf for some optimizers only; safe reading refuses the others."""
    cfg = load_config(TINY_LAZY)
    cfg.optimizer = L(torch.optim.NAdam)(params=cfg.optimizer.params, lr=0.001, betas=(0.8, 0.9))
    cfg.optimizer.weight_decay = 0.0
    optimizer = parts_of(cfg).optimizer(instantiate(cfg.model))
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pth")
    torch.load(tmp_path / "optimizer.pth", weights_only=True)


def trained_iterations(run: Path) -> list[int]:
    """Iterations whose losses were written, on one run after the other."""
    lines = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    return [line["iteration"] for line in lines if "loss_rel_predicate_class" in line]


def test_train_net_trains_resumes_and_evaluates_from_a_detector(
    detector: str, overrides: LazyOverrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With the rate of the scenes, weights that are not trained explode.
    settings = ("train.checkpointer.period=1", "train.log_period=2", "model.task=prdcls")
    options = overrides(*settings, "optimizer.lr=0.001")
    run_train_net(monkeypatch, TINY_LAZY, f"train.init_checkpoint={detector}", *options)
    run = tmp_path / "lazy"
    assert trained_iterations(run) == [1, 2]
    saved = torch.load(run / "model_final.pth")
    assert (
        saved["vocabulary"]["predicate_classes"] == vocabulary_of("reldn_scenes_tiny_train").predicate_classes
    )
    # The table was counted and is not trained.
    probs = saved["model"]["relation_head.pair_classifier.semantic.log_prior"].exp() - 1e-3
    counts = predicate_counts(
        DatasetCatalog.get("reldn_scenes_tiny_train"), num_classes=6, num_predicates=7
    ).astype(float)
    counts[..., -1] += 1
    np.testing.assert_allclose(probs, counts / counts.sum(-1, keepdims=True), atol=1e-6)
    start = torch.load(detector)["model"]
    for name in ("backbone.bottom_up.res3.0.conv1.weight", "roi_heads.box_head.fc1.weight"):
        assert torch.equal(saved["model"][name], start[name])

    (run / "last_checkpoint").write_text("model_0000001.pth")
    written = (run / "config.yaml").read_bytes()
    run_train_net(monkeypatch, TINY_LAZY, "--resume", *options)
    assert trained_iterations(run) == [1, 2], "each iteration once"
    assert (run / "config.yaml").read_bytes() == written

    final = str(run / "model_final.pth")
    results = run_train_net(monkeypatch, TINY_LAZY, "--eval-only", f"train.init_checkpoint={final}", *options)
    assert list(results) == [f"prdcls/{x}" for x in ("motifs", "reldn", "confusion")]
    assert results == run_train_net(monkeypatch, TINY_LAZY, "--eval-only", "--resume", *options)


def test_the_copies_start_from_the_detector(detector: str, overrides: LazyOverrides) -> None:
    training = Trainer(load_lazy_config(TINY_LAZY, overrides(f"train.init_checkpoint={detector}")))
    training.resume_or_load(resume=True)
    assert training.start_iter == 0  # there is nothing to resume from
    state, start = training.model.state_dict(), torch.load(detector)["model"]
    for target, source in (
        ("relation_backbone.bottom_up.res4.0.conv1.weight", "backbone.bottom_up.res4.0.conv1.weight"),
        ("relation_head.pair_classifier.subject_head.fc2.weight", "roi_heads.box_head.fc2.weight"),
        ("relation_head.pair_classifier.predicate_head.fc1.bias", "roi_heads.box_head.fc1.bias"),
    ):
        assert torch.equal(state[target], start[source]), target


def test_the_relation_part_may_come_from_another_checkpoint(
    detector: str, weights: str, overrides: LazyOverrides
) -> None:
    options = [f"train.init_checkpoint={detector}", f"train.relation_checkpoint={weights}"]
    training = Trainer(load_lazy_config(TINY_LAZY, overrides(*options)))
    training.resume_or_load(resume=False)
    state = training.model.state_dict()
    sources = torch.load(detector)["model"], torch.load(weights)["model"]
    for name, value in state.items():
        assert torch.equal(value, sources[name.startswith("relation_")][name]), name


def test_precomputed_detections_are_trained_on(overrides: LazyOverrides, tmp_path: Path) -> None:
    box, score = np.array([[3.0, 3, 40, 40]]), np.array([0.5])
    ids = [x["image_id"] for x in DatasetCatalog.get("reldn_scenes_tiny_train")]
    found = {image_id: (box, score, np.array([i % 6])) for i, image_id in enumerate(ids)}
    file = tmp_path / "found.npz"
    save_detections(file, found, vocabulary_of("reldn_scenes_tiny_train").thing_classes)
    cfg = load_lazy_config(TINY_LAZY, overrides(f"datasets.train_detections=[{file}]"))
    for x in next(iter(instantiate(cfg.dataloader.train))):
        assert x["detections"].pred_classes.tolist() == [ids.index(x["image_id"]) % 6]
    cfg.model.entities_from_proposals = True
    with pytest.raises(ValueError, match="trains on proposals"):
        Trainer(cfg)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MODEL.WEIGHTS", "x.pth"], "written key=value: 'MODEL.WEIGHTS'"),
        (["optimizer.lrr=1"], "no such key.*lrr"),
        (["modle.task=prdcls"], "no such key.*modle"),
    ],
)
def test_overrides_that_would_change_nothing_are_refused(options: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_lazy_config(SCENES, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["train.init_checkpoint=''"], "frozen detector.*train.init_checkpoint"),
        (
            ["model.roi_heads.num_classes=5"],
            "model.roi_heads.num_classes is 5, but data set reldn_scenes_tiny_train has 6",
        ),
        (["model.relation_head.num_predicates=9"], "model.relation_head.num_predicates is 9, but .* has 7"),
        (["train.amp.enabled=true"], "train.amp.enabled needs CUDA"),
        (["datasets.train_detections=[a.npz,b.npz]"], "2 detection files for 1 data sets"),
    ],
)
def test_training_that_cannot_work_is_refused(
    options: list[str], message: str, overrides: LazyOverrides
) -> None:
    with pytest.raises(ValueError, match=message):
        train(load_lazy_config(TINY_LAZY, overrides(*options)))


def test_evaluation_needs_a_complete_checkpoint_of_the_same_classes(
    detector: str, weights: str, overrides: LazyOverrides, tmp_path: Path
) -> None:
    def evaluate_with(*options: str) -> None:
        evaluate(load_lazy_config(TINY_LAZY, overrides(*options)))

    with pytest.raises(ValueError, match=r"nothing to evaluate.*train.init_checkpoint"):
        evaluate_with()
    with pytest.raises(ValueError, match=r"lacks .* parameters"):
        evaluate_with(f"train.init_checkpoint={detector}")
    other = torch.load(weights)
    del other["sha256"]
    other["vocabulary"]["predicate_classes"][2] = "eats"
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="eats"):
        evaluate_with(f"train.init_checkpoint={tmp_path / 'other.pth'}")


def test_a_run_is_resumed_only_as_it_was_started(
    weights: str, overrides: LazyOverrides, tmp_path: Path
) -> None:
    def resume(*options: str) -> None:
        start = f"train.init_checkpoint={weights}"
        cfg = load_lazy_config(TINY_LAZY, overrides(start, "model.task=prdcls", *options))
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=True)
        trainer.train()

    resume()
    with pytest.raises(ValueError, match=r"optimizer.lr was 0.01, now 0.02"):
        resume("optimizer.lr=0.02")
    with pytest.raises(ValueError, match=r"contrastive_losses.terms.entity_class.margin was 0.2, now 0.3"):
        resume("model.relation_head.contrastive_losses.terms.entity_class.margin=0.3")
    resume("train.log_period=7")  # this changes no result


def test_the_identity_of_a_run_holds_no_address_and_leaves_out_what_does_not_matter() -> None:
    images = DatasetCatalog.get("reldn_scenes_tiny_train")
    vitdet = str(LAZY / "vrd_reldn_vitdet_b.py")
    identity = identity_of(load_lazy_config(vitdet), images)
    assert "LayerNorm" in identity["model.backbone.net.norm_layer"]
    assert "PairSampler" in identity["model.relation_head.sample_pairs._target_"]
    assert not any(" at 0x" in value for value in identity.values())
    free = [
        *("train.output_dir=a", "train.init_checkpoint=b", "train.device=cpu", "train.eval_period=3"),
        *("datasets.test=c", "dataloader.train.num_workers=9", "dataloader.test.batch_size=2"),
        "model.task=sgcls",
    ]
    assert identity_of(load_lazy_config(vitdet, free), images) == identity
    for bound in (
        "train.max_iter=3",
        "model.entity_iou_threshold=0.4",
        "dataloader.train.total_batch_size=4",
    ):
        assert identity_of(load_lazy_config(vitdet, [bound]), images) != identity, bound
    assert identity_of(load_lazy_config(vitdet), images[1:]) != identity


def train_in_processes(config: str, options: list[str]) -> None:
    torch.set_num_threads(1)
    sys.path.insert(0, str(REPOSITORY))
    train_net = importlib.import_module("train_net")
    train_net.main(argparse.Namespace(config_file=config, opts=options, resume=False, eval_only=False))


@pytest.mark.slow
def test_two_processes_train_on_cpus(weights: str, overrides: LazyOverrides, tmp_path: Path) -> None:
    short = [
        "train.max_iter=1",
        "lr_multiplier.scheduler.milestones=[]",
        "lr_multiplier.scheduler.values=[1.0]",
    ]
    options = overrides(f"train.init_checkpoint={weights}", "model.task=prdcls", *short)
    run_in_processes(train_in_processes, 2, tmp_path, TINY_LAZY, options)
    assert torch.load(tmp_path / "lazy" / "model_final.pth")["iteration"] == 0
    assert (tmp_path / "lazy" / "log.txt.rank1").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("sample_pairs.partners_per_anchor=-1", r"partners_per_anchor is -1: give a whole number of 0"),
        ("contrastive_losses.normalization=mean", r"normalization is 'mean': give 'anchors' or 'published'"),
    ],
)
def test_a_wrong_way_to_sample_or_to_average_is_refused(option: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"tiny_lazy\.py: model\.relation_head\.\w+\.{message}"):
        load_lazy_config(TINY_LAZY, [f"model.relation_head.{option}"])


def test_a_contrastive_term_is_switched_off_by_its_weight() -> None:
    options = ["model.relation_head.contrastive_losses.terms.entity_class.weight=0"]
    losses = instantiate(load_lazy_config(TINY_LAZY, options).model.relation_head.contrastive_losses)
    assert list(losses.terms) == ["class_agnostic", "predicate_class"]
