"""The memory of the process between `process` and `evaluate`, as the operating system counts it."""

import ctypes
import gc
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from reldn_d2.evaluation import RelationEvaluator
from tools.benchmarks.memory import can_measure, status_kb

NAME = "evaluator_memory_test"
ENTITIES, IMAGES = 100, 500


@pytest.fixture(autouse=True)
def dataset() -> Iterator[None]:
    nothing = np.zeros((0, 3), dtype=np.int64)
    box = {"bbox": [0, 0, 9, 9], "bbox_mode": 0, "category_id": 0}
    annotated = {"image_id": -1, "annotations": [box], "relations": np.zeros((1, 3), dtype=np.int64)}
    records = [annotated, *({"image_id": i, "annotations": [], "relations": nothing} for i in range(IMAGES))]
    DatasetCatalog.register(NAME, lambda: records)
    MetadataCatalog.get(NAME).set(thing_classes=["cat"], predicate_classes=["on"])
    yield
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def output() -> dict[str, Instances]:
    """One triplet of every ordered pair, best first."""
    entities, triplets = Instances((40, 40)), Instances((40, 40))
    entities.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(ENTITIES, 1))
    entities.pred_classes, entities.scores = torch.zeros(ENTITIES, dtype=torch.long), torch.ones(ENTITIES)
    subject, object = torch.nonzero(~torch.eye(ENTITIES, dtype=torch.bool)).T
    triplets.subject_index, triplets.object_index = subject, object
    triplets.pred_predicates, triplets.rank_in_pair = torch.zeros_like(subject), torch.ones_like(subject)
    triplets.scores = torch.linspace(1, 0, len(subject))
    return {"instances": entities, "relations": triplets}


@pytest.mark.slow
@pytest.mark.skipif(not can_measure(), reason="the system does not tell how much memory a process holds")
def test_an_image_costs_a_few_kilobytes_however_many_pairs_were_scored() -> None:
    evaluator, found = RelationEvaluator(NAME, "sgdet"), output()
    evaluator.process([{"image_id": 0}], [found])
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = status_kb("VmRSS")
    for i in range(1, IMAGES):
        evaluator.process([{"image_id": i}], [found])
    assert (status_kb("VmRSS") - before) / IMAGES < 20
