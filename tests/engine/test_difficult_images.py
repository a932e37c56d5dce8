"""Images with one box, without boxes, or with self relations alone do not stop training."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_train_loader
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.engine import Trainer
from reldn_d2.structures.annotations import Annotations
from tests.builders.tiny_models import TinyConfig, calm_down, make_model

NAME = "difficult_images"
# Kind of image -> number of boxes, and relationships
KINDS: dict[str, tuple[int, list[tuple[int, int, int]]]] = {
    "no box": (0, []),
    "one box": (1, []),
    "one box, related to itself": (1, [(0, 0, 1)]),
    "only self relations": (3, [(0, 0, 1), (2, 2, 0)]),
    "no relationship": (3, []),
    "repeats and self relations": (3, [(0, 1, 2), (0, 1, 2), (1, 1, 0)]),
}


def difficult(*kinds: str) -> list[dict[str, Any]]:
    found = []
    for i, kind in enumerate(kinds):
        size, relations = KINDS[kind]
        scene = copy.deepcopy(DatasetCatalog.get("reldn_scenes_tiny_train")[i])
        boxes = [annotation["bbox"] for annotation in scene["annotations"]][:size]
        classes = [annotation["category_id"] for annotation in scene["annotations"]][:size]
        annotations = Annotations(boxes, classes)
        found.append({**scene, "image_id": kind, "annotations": annotations, "relations": relations})
    return found


@pytest.fixture(params=["detections", "ground truth alone"])
def config(request: pytest.FixtureRequest, tiny_config: TinyConfig) -> CfgNode:
    threshold = "0.0" if request.param == "detections" else "0.99"
    return tiny_config(
        *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", threshold),
        *("DATALOADER.NUM_WORKERS", "0"),
        *("DATALOADER.ASPECT_RATIO_GROUPING", "False"),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_on_nothing_but_such_images(kind: str, config: CfgNode) -> None:
    """A trainer that does not filter images gets these batches."""
    images = difficult(kind, kind)
    loader = build_detection_train_loader(
        images,
        mapper=RelationDatasetMapper(config, is_train=True),
        total_batch_size=2,
        aspect_ratio_grouping=False,
    )
    batch = next(iter(loader))
    assert [len(one["instances"]) for one in batch] == [KINDS[kind][0]] * 2
    assert [len(one["relations"]) for one in batch] == [len(KINDS[kind][1])] * 2
    model = make_model(config).train()
    optimizer = Trainer.build_optimizer(config, model)
    with EventStorage():
        losses = model(batch)
    sum(losses.values()).backward()
    optimizer.step()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.fixture
def registered() -> Iterator[str]:
    DatasetCatalog.register(NAME, lambda: difficult(*KINDS))
    scenes = MetadataCatalog.get("reldn_scenes_tiny_train")
    names = {key: scenes.get(key) for key in ("thing_classes", "predicate_classes")}
    MetadataCatalog.get(NAME).set(evaluator_type="relation", **names)
    yield NAME
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.mark.parametrize("cropped", [False, True])
@pytest.mark.parametrize("file", ["reldn.yaml", "detector.yaml"])
def test_a_run_on_such_a_data_set(file: str, cropped: bool, registered: str, tiny_config: TinyConfig) -> None:
    """This holds for both stages. A crop to a fifth of the image leaves few boxes, and often none."""
    cfg = tiny_config(
        "DATASETS.TRAIN", f"('{registered}',)", "DATASETS.TEST", "()", "SOLVER.MAX_ITER", "4", file=file
    )
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.SIZE = cropped, [0.2, 0.2]
    seed_all_rng(0)
    trainer = Trainer(cfg)
    calm_down(trainer.model)
    trainer.train()
    assert trainer.iter == 4
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


def test_the_relation_stage_is_given_the_images_it_can_learn_from(
    registered: str, tiny_config: TinyConfig
) -> None:
    cfg = tiny_config("DATASETS.TRAIN", f"('{registered}',)", "SOLVER.IMS_PER_BATCH", "1")
    batches = iter(Trainer.build_train_loader(cfg))
    for _ in range(3):
        (one,) = next(batches)
        assert one["image_id"] == "repeats and self relations"
        assert one["relations"].tolist() == [[0, 1, 2]]
