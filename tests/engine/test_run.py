"""A YAML config and a Python config run through the same functions and give equal numbers."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, build_detection_test_loader
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.data import RelationDatasetMapper, save_detections, with_queries
from reldn_d2.data.images import read_image
from reldn_d2.engine import (
    RelationPredictor,
    Trainer,
    evaluate,
    kind_of_config,
    load_config,
    load_model,
    parts_of,
    vocabulary_of,
)
from reldn_d2.engine.parts import Config
from reldn_d2.engine.run import resume_or_start
from reldn_d2.evaluation import RelationEvaluator
from tests.builders.tiny_models import REPOSITORY, TINY, TinyConfig, make_input, make_model

SCENES = REPOSITORY / "configs" / "scenes" / "reldn.yaml"
TINY_LAZY = REPOSITORY / "tests" / "builders" / "tiny_lazy.py"
KINDS = ("yaml", "python")


@pytest.fixture
def weights(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """A complete RelDN checkpoint."""
    vocabulary = vocabulary_of("reldn_scenes_tiny_train")
    RelationCheckpointer(make_model(tiny_config()), str(tmp_path), vocabulary=vocabulary).save("reldn")
    return str(tmp_path / "reldn.pth")


def config(kind: str, output: Path, weights: str) -> Config:
    """The same run in one kind of config: three steps, a checkpoint after each, prdcls."""
    head = "MODEL.ROI_RELATION_HEAD"
    if kind == "yaml":
        options = [
            *(*TINY, "MODEL.WEIGHTS", weights, "OUTPUT_DIR", str(output)),
            *("SOLVER.BASE_LR", "0.01", "SOLVER.PREDICATE_BACKBONE_LR_FACTOR", "0.1", "SOLVER.MAX_ITER", "3"),
            *("SOLVER.WARMUP_ITERS", "1", "SOLVER.STEPS", "(2,)", "SOLVER.CHECKPOINT_PERIOD", "1"),
            *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", f"{head}.TEST.TASK", "prdcls"),
        ]
        return load_config(str(SCENES), options)
    options = [
        *(f"train.init_checkpoint={weights}", f"train.output_dir={output}", "train.checkpointer.period=1"),
        *("optimizer.params.predicate_backbone_lr_factor=0.1", "model.task=prdcls"),
        "model.roi_heads.box_predictor.test_score_thresh=0.0",
    ]
    return load_config(str(TINY_LAZY), options)


def batches(first: int) -> Iterator[list[dict[str, Any]]]:
    """Batches from number `first` on. The random numbers are seeded before each, for equal draws."""
    relations = [(0, 1, 2), (2, 1, 0), (3, 0, 6), (1, 2, 2)]
    for i in range(first, 3):
        torch.manual_seed(i)
        yield [make_input(5, relations, seed=2 * i), make_input(4, relations[:2], seed=2 * i + 1)]


def run(cfg: Config, *, resume: bool) -> tuple[Trainer, dict[str, Any]]:
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer._trainer._data_loader_iter_obj = batches(trainer.start_iter)
    return trainer, trainer.train()


def test_both_kinds_train_resume_evaluate_and_predict_alike(weights: str, tmp_path: Path) -> None:
    states, results, predictions = [], [], []
    for kind in KINDS:
        output = tmp_path / kind
        _, trained = run(config(kind, output, weights), resume=False)
        whole = torch.load(output / "model_final.pth")["model"]
        (output / "last_checkpoint").write_text("model_0000000.pth")
        trainer, resumed = run(config(kind, output, weights), resume=True)
        assert trainer.start_iter == 1
        final = str(output / "model_final.pth")
        state = torch.load(final)["model"]
        assert all(torch.equal(value, state[name]) for name, value in whole.items()), "resumed"
        cfg = config(kind, output, final)
        assert trained == resumed == evaluate(cfg) == Trainer.test(cfg, load_model(cfg))
        found = RelationPredictor(cfg)(
            read_image(DatasetCatalog.get("reldn_scenes_tiny_test")[0]["file_name"], "BGR")
        )
        states.append(state)
        results.append(trained)
        predictions.append(found)
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert results[0] == results[1]
    assert results[0]["prdcls/motifs"]["R@50"] > 0 and "prdcls/confusion" in results[0]
    for name in ("instances", "relations"):
        one, other = (x[name].get_fields() for x in predictions)
        assert one.keys() == other.keys()
        for field, value in one.items():
            tensors = [getattr(x, "tensor", x) for x in (value, other[field])]
            assert torch.equal(*tensors), field


def test_parts_of_both_kinds_have_the_same_names() -> None:
    parts = [
        parts_of(load_config(str(file))) for file in (SCENES, REPOSITORY / "configs/lazy/scenes_reldn.py")
    ]
    for name in (
        "train_datasets",
        "test_datasets",
        "is_relation_model",
        "has_training",
        "use_amp",
        "max_iter",
    ):
        assert getattr(parts[0], name) == getattr(parts[1], name), name
    assert [number for _, number in parts[0].class_counts().values()] == [
        number for _, number in parts[1].class_counts().values()
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_misspelt_key_is_named_with_near_ones(kind: str) -> None:
    file, options, near = {
        "yaml": (SCENES, ["SOLVER.BASE_LRR", "1"], "SOLVER.BASE_LR"),
        "python": (TINY_LAZY, ["train.max_itre=1"], "train.max_iter"),
    }[kind]
    with pytest.raises(ValueError, match=f"did you mean .*{near}") as raised:
        load_config(str(file), options)
    assert "\n" not in str(raised.value)


def test_an_unknown_key_of_a_yaml_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("MODEL:\n  ROI_RELATION_HEAD:\n    NUM_PREDICATE: 3\n")
    with pytest.raises(ValueError, match=r"x.yaml has the key MODEL.*NUM_PREDICATE, .*NUM_PREDICATES"):
        load_config(str(file))
    with pytest.raises(FileNotFoundError, match=r"'gone.yaml' does not exist"):
        load_config("gone.yaml")
    with pytest.raises(ValueError, match="pairs KEY VALUE"):
        load_config(str(SCENES), ["SEED"])


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("del optimizer", "optimizer.params"),
        ("del lr_multiplier", "lr_multiplier"),
        ("dataloader.pop('evaluator')", "dataloader.evaluator"),
        ("dataloader.pop('statistics')", "dataloader.statistics"),
        ("train.pop('max_iter')", "train.max_iter"),
        ("model.relation_head.pop('num_predicates')", "model.relation_head.num_predicates"),
    ],
)
def test_a_part_that_a_python_config_lacks_is_named(line: str, missing: str, tmp_path: Path) -> None:
    file = tmp_path / "forgetful.py"
    file.write_text(
        "from detectron2.config import LazyConfig\n"
        f"_cfg = LazyConfig.load({str(TINY_LAZY)!r})\n"
        "model, datasets, dataloader = _cfg.model, _cfg.datasets, _cfg.dataloader\n"
        f"optimizer, lr_multiplier, train = _cfg.optimizer, _cfg.lr_multiplier, _cfg.train\n{line}\n"
    )
    with pytest.raises(ValueError, match=rf"forgetful.py lacks {missing}: ") as raised:
        load_config(str(file))
    assert "\n" not in str(raised.value)


def test_the_saved_config_of_a_python_run_names_the_file_to_give_instead(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("dataloader: {}\nmodel: {}\n")
    with pytest.raises(ValueError, match=r"config.yaml was saved by a run of a Python config: give that"):
        load_config(str(file))


def test_a_loop_that_does_not_pass_the_queries_gets_the_remedy(weights: str, tmp_path: Path) -> None:
    """Detectron2's loader and our evaluator, without the queries that join them."""
    cfg = config("yaml", tmp_path, weights)
    model = load_model(cfg)
    evaluator = RelationEvaluator("reldn_scenes_tiny_test", "prdcls", ("reldn", "confusion"))
    loader = build_detection_test_loader(
        DatasetCatalog.get("reldn_scenes_tiny_test"), mapper=RelationDatasetMapper(cfg, is_train=False)
    )
    with pytest.raises(ValueError, match=r"queries=evaluator.queries") as raised:
        inference_on_dataset(model, loader, evaluator)
    assert "\n" not in str(raised.value) and "image" in str(raised.value)
    joined = inference_on_dataset(model, with_queries(loader, evaluator.queries), evaluator)
    loader = Trainer.build_test_loader(cfg, "reldn_scenes_tiny_test")
    trainers = inference_on_dataset(model, loader, evaluator)
    assert joined == trainers and np.isfinite(joined["prdcls/confusion"]["entity_instance_right"])


def test_evaluators_that_are_wrapped_are_joined_to_the_loader_too(weights: str, tmp_path: Path) -> None:
    class WithOthers(Trainer):
        @classmethod
        def build_evaluator(cls, cfg: Any, dataset_name: str) -> Any:
            return DatasetEvaluators([super().build_evaluator(cfg, dataset_name)])

    cfg = config("yaml", tmp_path, weights)
    model = load_model(cfg)
    assert WithOthers.test(cfg, model) == Trainer.test(cfg, model) != {}


def test_a_trainer_without_evaluator_goes_on(weights: str, tmp_path: Path) -> None:
    class WithoutEvaluator(Trainer):
        @classmethod
        def build_evaluator(cls, cfg: Any, dataset_name: str) -> Any:
            raise NotImplementedError

    cfg = config("yaml", tmp_path, weights)
    assert WithoutEvaluator.test(cfg, load_model(cfg)) == {}


def test_a_joined_loader_is_still_detectron2s(weights: str, tmp_path: Path) -> None:
    loader = Trainer.build_test_loader(config("yaml", tmp_path, weights), "reldn_scenes_tiny_test")
    assert len(loader.dataset) == 8
    assert not hasattr(loader, "no_such_attribute")


def test_a_python_config_with_a_fixed_test_set_loads_no_other(weights: str, tmp_path: Path) -> None:
    cfg = config("python", tmp_path, weights)
    cfg.dataloader.test.dataset.names = ["reldn_scenes_tiny_test"]
    parts = parts_of(cfg)
    parts.test_loader("reldn_scenes_tiny_test")
    with pytest.raises(
        ValueError, match=r"does not refer to datasets.test, so it can't load reldn_scenes_tiny_train"
    ):
        parts.test_loader("reldn_scenes_tiny_train")


@pytest.mark.parametrize("path", ["model (1).pth", "a=b/it's.pth", "plain/model-1.pth", ""])
def test_any_path_can_be_an_override_of_a_python_config(path: str) -> None:
    parts = kind_of_config("x.py")
    cfg = load_config(str(TINY_LAZY), parts.override(parts.keys.weights, path))
    assert cfg.train.init_checkpoint == path


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.max_iter=[1,", r"override 'train.max_iter=\[1,' can't be applied"),
        ("train.device.x=1", r"train.device.x"),
        ("datasets.train=reldn_scenes_tiny_train", "datasets.train is a list of names"),
        ("datasets.test=[reldn_scenes_tiny_test]", "datasets.test one name"),
    ],
)
def test_a_bad_override_of_a_python_config_is_one_line(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        load_config(str(TINY_LAZY), [override])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["MODEL: [", "- a\n- b\n", "MODEL: 3\n", "VERSION: 3\n"])
def test_a_bad_yaml_file_is_one_line_that_names_it(content: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"bad.yaml can't be read as a config of Detectron2: ") as raised:
        load_config(str(file))
    assert "\n" not in str(raised.value)


def test_detections_of_a_python_config_are_found_wherever_it_names_them(weights: str, tmp_path: Path) -> None:
    """Training on proposals does not go together with precomputed detections."""
    cfg = config("python", tmp_path, weights)
    cfg.model.entities_from_proposals = True
    ids = [x["image_id"] for x in DatasetCatalog.get("reldn_scenes_tiny_train")]
    nothing = (np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64))
    classes = vocabulary_of("reldn_scenes_tiny_train").thing_classes
    save_detections(tmp_path / "none.npz", dict.fromkeys(ids, nothing), classes)
    cfg.dataloader.train.dataset.dataset_dicts.detection_files = [str(tmp_path / "none.npz")]
    with pytest.raises(ValueError, match="trains on proposals, so it can't use"):
        Trainer(cfg)


def test_checkpoints_without_last_checkpoint_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = torch.nn.Linear(1, 1)
    checkpointer = RelationCheckpointer(model, str(tmp_path))
    parts: Any = SimpleNamespace(output_dir=str(tmp_path), weights="", relation_weights="")
    (tmp_path / "model_best.pth").touch()
    assert not resume_or_start(checkpointer, {}, parts, resume=True)
    assert not caplog.text, "nothing to go on from"
    (tmp_path / "model_0000004.pth").touch()
    assert not resume_or_start(checkpointer, {}, parts, resume=True)
    assert "has model_0000004.pth, but no file last_checkpoint" in caplog.text, "killed before it was written"
    assert "nothing is resumed" in caplog.text and "stop this run and write model_0000004.pth" in caplog.text
    (tmp_path / "model_final.pth").touch()
    with pytest.raises(
        ValueError, match=r"write model_final\.pth, or the name of another one, in a file last"
    ):
        resume_or_start(checkpointer, {}, parts, resume=True)
    assert not resume_or_start(checkpointer, {}, parts, resume=False)


def test_an_evaluation_of_the_last_checkpoint_needs_its_name(tiny_config: TinyConfig, tmp_path: Path) -> None:
    for name in ("model_0000004.pth", "model_final.pth"):
        (tmp_path / name).touch()
    cfg = tiny_config("OUTPUT_DIR", str(tmp_path), file="detector.yaml")
    with pytest.raises(ValueError, match="no file last_checkpoint that says where to go on"):
        load_model(cfg, resume=True)
