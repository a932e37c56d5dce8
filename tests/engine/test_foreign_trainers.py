"""Trainers and loops of other projects train as `reldn_d2.engine.Trainer` does, or say what they miss."""

import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog, build_detection_train_loader
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from detectron2.utils.logger import setup_logger

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.engine import RelationTraining, Trainer, load_model, prepare_relation_training
from reldn_d2.evaluation import RelationEvaluator
from tests.builders.tiny_models import TinyConfig

Weights = dict[str, torch.Tensor]


class Foreign(RelationTraining, DefaultTrainer):
    """What another project writes."""


def trained(kind: type[DefaultTrainer], cfg: CfgNode, *, resume: bool = False) -> DefaultTrainer:
    """A trainer after its training, with the random numbers of one seed."""
    seed_all_rng(7)
    trainer = kind(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def same(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(x.equal(second[name]) for name, x in first.items())


@pytest.fixture
def config(tiny_config: TinyConfig, weights: str, tmp_path: Path) -> Callable[..., CfgNode]:
    """Makes a config of three steps on top of `weights`, without an evaluation."""

    def make(name: str, *opts: str, **options: str) -> CfgNode:
        quick = ["SOLVER.MAX_ITER", "3", "DATASETS.TEST", "()", "MODEL.WEIGHTS", weights]
        return tiny_config(*quick, "OUTPUT_DIR", str(tmp_path / name), *opts, **options)

    return make


@pytest.fixture
def ours(config: Callable[..., CfgNode]) -> Weights:
    """The weights that this package's own trainer reaches."""
    state: Weights = trained(Trainer, config("ours")).model.state_dict()
    return state


def test_a_foreign_trainer_reaches_the_same_weights(
    config: Callable[..., CfgNode], ours: Weights, weights: str
) -> None:
    trainer = trained(Foreign, config("foreign"))
    assert same(trainer.model.state_dict(), ours)
    start = torch.load(weights, weights_only=True)["model"]
    changed = {name.split(".")[0] for name, x in ours.items() if not x.equal(start[name])}
    assert changed == {"relation_backbone", "relation_head"}


def test_it_keeps_the_best_weights(config: Callable[..., CfgNode]) -> None:
    options = ["TEST.BEST_CHECKPOINT", "True", "TEST.EVAL_PERIOD", "2", "DATASETS.TEST"]
    options += ["('reldn_scenes_tiny_test',)", "MODEL.ROI_RELATION_HEAD.TEST.TASK", "prdcls"]
    best = {}
    for kind in (Trainer, Foreign):
        cfg = config(kind.__name__, *options)
        trained(kind, cfg)
        best[kind] = torch.load(Path(cfg.OUTPUT_DIR) / "model_best.pth", weights_only=True)
        assert (Path(cfg.OUTPUT_DIR) / "last_checkpoint").read_text() == "model_final.pth"
    ours, foreign = best[Trainer], best[Foreign]
    assert ours["best"] == foreign["best"] and ours["iteration"] == foreign["iteration"]
    assert same(ours["model"], foreign["model"])


def test_so_does_a_loop_of_its_own(config: Callable[..., CfgNode], ours: Weights, tmp_path: Path) -> None:
    seed_all_rng(7)
    model, optimizer, loader, checkpointer = prepare_relation_training(config("loop"))
    with EventStorage():
        for batch in islice(loader, 3):
            optimizer.zero_grad()
            sum(model(batch).values()).backward()
            optimizer.step()
    assert same(model.state_dict(), ours)
    checkpointer.save("mine")
    test_set = ("DATASETS.TEST", "('reldn_scenes_tiny_test',)")
    saved = config("evaluated", "MODEL.WEIGHTS", str(tmp_path / "loop" / "mine.pth"), *test_set)
    assert same(load_model(saved).state_dict(), ours)


class Count(HookBase):
    """A hook of the project."""

    steps = 0

    def after_step(self) -> None:
        self.steps += 1


class CompanyTrainer(DefaultTrainer):
    """A base class of the project, with a constructor and hooks of its own."""

    def __init__(self, cfg: CfgNode) -> None:
        self.count = Count()
        super().__init__(cfg)

    def build_hooks(self) -> list[HookBase]:
        return [*super().build_hooks(), self.count]


class OwnMapper(RelationDatasetMapper):
    """A mapper that remembers the images it has seen."""

    seen: set[str]

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        self.seen.add(dataset_dict["file_name"])
        return super().__call__(dataset_dict)


class OwnTrainer(RelationTraining, CompanyTrainer):
    """A trainer with a mapper of its own, on another base class."""

    seen: set[str]

    @classmethod
    def build_mapper(cls, cfg: CfgNode, is_train: bool) -> OwnMapper:
        mapper: OwnMapper = OwnMapper(cfg, is_train=is_train)
        mapper.seen = cls.seen
        return mapper


def test_its_base_class_hooks_and_mapper_stay_its_own(config: Callable[..., CfgNode], ours: Weights) -> None:
    OwnTrainer.seen = set()
    trainer = trained(OwnTrainer, config("own", "DATALOADER.NUM_WORKERS", "0"))
    assert trainer.count.steps == 3
    assert len(OwnTrainer.seen) >= 2
    assert same(trainer.model.state_dict(), ours)


def test_it_resumes_its_own_run_and_that_of_the_other_trainer(config: Callable[..., CfgNode]) -> None:
    first = trained(Foreign, config("run", "SOLVER.MAX_ITER", "1"))
    assert first.start_iter == 0
    assert trained(Foreign, config("run", "SOLVER.MAX_ITER", "2"), resume=True).start_iter == 1
    assert trained(Trainer, config("run", "SOLVER.MAX_ITER", "3"), resume=True).start_iter == 2
    with pytest.raises(ValueError, match="BASE_LR"):
        trained(Foreign, config("run", "SOLVER.MAX_ITER", "4", "SOLVER.BASE_LR", "0.1"), resume=True)


def test_it_refuses_a_detector_without_weights(config: Callable[..., CfgNode]) -> None:
    trainer = Foreign(config("run", "MODEL.WEIGHTS", ""))
    with pytest.raises(ValueError, match="frozen detector: give its checkpoint"):
        trainer.resume_or_load(resume=False)
    with pytest.raises(ValueError, match="frozen detector: give its checkpoint"):
        prepare_relation_training(config("loop", "MODEL.WEIGHTS", ""))


def test_it_refuses_other_classes_before_it_builds_a_model(config: Callable[..., CfgNode]) -> None:
    with pytest.raises(ValueError, match="NUM_PREDICATES"):
        Foreign(config("run", "MODEL.ROI_RELATION_HEAD.NUM_PREDICATES", "2"))


def test_a_model_for_evaluation_needs_no_training_data(config: Callable[..., CfgNode]) -> None:
    assert Foreign.build_model(config("run", "DATASETS.TRAIN", "('elsewhere',)"))


def test_a_detector_trains_in_the_same_way(config: Callable[..., CfgNode]) -> None:
    stage1 = ("MODEL.WEIGHTS", "", "SOLVER.BASE_LR", "0.0001")
    first = trained(Trainer, config("ours", *stage1, file="detector.yaml"))
    second = trained(Foreign, config("foreign", *stage1, file="detector.yaml"))
    assert same(first.model.state_dict(), second.model.state_dict())


@pytest.mark.parametrize("key", ["MODEL.MASK_ON", "MODEL.KEYPOINT_ON"])
def test_a_detector_with_masks_or_keypoints_gets_a_mapper_that_reads_them(
    config: Callable[..., CfgNode], key: str
) -> None:
    MetadataCatalog.get("reldn_scenes_tiny_train").set(keypoint_names=["centre"], keypoint_flip_map=[])
    detector = config("run", key, "True", file="detector.yaml")
    assert isinstance(Foreign.build_mapper(detector, True), DatasetMapper)
    assert type(Foreign.build_mapper(config("run", key, "True"), True)) is RelationDatasetMapper


class Rows(DatasetEvaluator):
    """Counts the images that it sees."""

    def reset(self) -> None:
        self.count = 0

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        self.count += len(inputs)

    def evaluate(self) -> dict[str, dict[str, int]]:
        return {"rows": {"images": self.count}}


class TwoEvaluators(Foreign):
    """A trainer whose own evaluator stands beside RelDN's, which asks the model about pairs."""

    @classmethod
    def build_evaluator(cls, _: CfgNode, dataset_name: str) -> DatasetEvaluator:
        mine = RelationEvaluator(dataset_name, "prdcls", ("motifs", "confusion"))
        return DatasetEvaluators([Rows(), mine])


def test_its_own_evaluators_get_their_answers(config: Callable[..., CfgNode]) -> None:
    test = "MODEL.ROI_RELATION_HEAD.TEST"
    options = (f"{test}.TASK", "prdcls", f"{test}.PROTOCOLS", "('motifs',)")
    cfg = config("run", "DATASETS.TEST", "('reldn_scenes_tiny_test',)", *options)
    results = trained(TwoEvaluators, cfg)._last_eval_results
    assert set(results) == {"rows", "prdcls/motifs", "prdcls/confusion"}
    assert results["rows"]["images"] == len(DatasetCatalog.get("reldn_scenes_tiny_test"))


@pytest.mark.parametrize("kind", [Foreign, prepare_relation_training])
def test_its_messages_go_where_those_of_detectron2_go(
    config: Callable[..., CfgNode], kind: Callable[[CfgNode], object], tmp_path: Path
) -> None:
    setup_logger(str(tmp_path / "log.txt"))
    for _ in range(2):
        kind(config("run"))
    theirs, mine = logging.getLogger("detectron2"), logging.getLogger("reldn_d2")
    assert mine.handlers == theirs.handlers and not mine.propagate
    assert (tmp_path / "log.txt").read_text().count("Training relationships of") == 2


def test_a_logger_that_is_set_up_stays_so(config: Callable[..., CfgNode]) -> None:
    handler = logging.NullHandler()
    logging.getLogger("reldn_d2").addHandler(handler)
    Foreign(config("run"))
    assert logging.getLogger("reldn_d2").handlers == [handler]


class NoCheckpoint(Foreign):
    """Forgets the detector."""

    def resume_or_load(self, resume: bool = True) -> None:
        pass


class StockOptimizer(Foreign):
    """Takes Detectron2's groups."""

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = DefaultTrainer.build_optimizer(cfg, model)
        return optimizer


class AllImages(Foreign):
    """Leaves no image out."""

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        return build_detection_train_loader(cfg, mapper=RelationDatasetMapper(cfg, is_train=True))


class OtherClasses(Foreign):
    """Loads a detector of other classes with Detectron2's checkpointer, which skips what does not fit."""

    def resume_or_load(self, resume: bool = True) -> None:
        other = torch.load(self.cfg.MODEL.WEIGHTS, weights_only=True)["model"]
        for name in ("weight", "bias"):
            other[f"roi_heads.box_predictor.cls_score.{name}"] = torch.zeros(3)
        DetectionCheckpointer(self.model)._load_model({"model": other})


MISSING = {
    NoCheckpoint: "checkpoint of a trained detector",
    OtherClasses: "2 of ",
    StockOptimizer: "relation_optimizer_params",
    AllImages: "prepare_training_relations",
}


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What the model warns of. The logger of the package does not pass messages on, so pytest misses them."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("reldn_d2.modeling.training_setup")
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def add_an_empty_data_set() -> None:
    """Registers the scenes and as many images without relationships, as "partly_empty"."""
    scenes = DatasetCatalog.get("reldn_scenes_tiny_train")[:1]
    empty = [{**x, "image_id": f"empty {x['image_id']}", "relations": []} for x in scenes]
    DatasetCatalog.register("partly_empty", lambda: scenes + empty)
    known = MetadataCatalog.get("reldn_scenes_tiny_train")
    MetadataCatalog.get("partly_empty").set(
        thing_classes=known.thing_classes, predicate_classes=known.predicate_classes
    )


@pytest.mark.parametrize("kind", MISSING)
def test_the_model_names_the_one_thing_that_is_missing(
    config: Callable[..., CfgNode], kind: type[Foreign], warnings: list[str]
) -> None:
    add_an_empty_data_set()
    trained(kind, config("run", "DATASETS.TRAIN", "('partly_empty',)", "SOLVER.BASE_LR", "0.0"))
    (warning,) = warnings
    assert MISSING[kind] in warning
    assert warning.count("\n  * ") == 1
    assert "model.training_setup.warns = False" in warning


@pytest.mark.parametrize("kind", [Trainer, Foreign])
def test_a_complete_training_warns_of_nothing(
    config: Callable[..., CfgNode], kind: type[DefaultTrainer], warnings: list[str]
) -> None:
    add_an_empty_data_set()
    crop = ("INPUT.CROP.ENABLED", "True", "INPUT.CROP.TYPE", "relative", "INPUT.CROP.SIZE", "[0.3,0.3]")
    trained(kind, config("run", "DATASETS.TRAIN", "('partly_empty',)", *crop))
    assert warnings == []
