"""A GPU hardly waits: few values are read from it in inference and training, however many images there are.

Reads are counted on a CPU, see `tests/builders/device_reads.py`. Those of Detectron2's proposals and
suppression are counted apart.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor

from reldn_d2.modeling import RelDN
from reldn_d2.modeling.acceleration import accelerate
from reldn_d2.modeling.relation_head import fixed_shapes
from tests.builders.device_reads import DeviceReads, pretend_gpu
from tests.builders.tiny_models import TinyConfig, make_input, make_model

# All bounds of a batch, how many triplets each image has, and, in sgdet, which detections are not empty.
READS_A_BATCH = {"prdcls": 2, "sgcls": 2, "sgdet": 3}
READS_A_STEP = 2


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu(monkeypatch)


def chunks_of(model: RelDN) -> list[int]:
    """The number of pairs of each chunk that the head will score."""
    sizes: list[int] = []
    head: Any = model.relation_head
    right = head.predicate_logits

    def counting(maps: Any, entities: Any, encoded: Any, pairs: Any) -> Tensor:
        sizes.append(len(pairs.first))
        logits: Tensor = right(maps, entities, encoded, pairs)
        return logits

    head.predicate_logits = counting
    return sizes


def reads_of_inference(
    model: RelDN, task: str, inputs: list[dict[str, Any]]
) -> tuple[DeviceReads, list[int]]:
    accelerate(model).eval().task = task
    model([make_input(2, [])])  # the semantic table is checked once in the life of a model
    chunks = chunks_of(model)
    with DeviceReads() as reads:
        model(inputs)
    return reads, chunks


@pytest.mark.parametrize("images", [1, 3])
def test_prdcls_with_many_entities(images: int, tiny_config: TinyConfig, gpu: None) -> None:
    inputs = [make_input(100, [], seed=seed) for seed in range(images)]
    reads, chunks = reads_of_inference(make_model(tiny_config()), "prdcls", inputs)
    assert sum(chunks) == images * 4950 and len(chunks) == -(-sum(chunks) // 256)
    assert reads.number("reldn_d2") <= len(chunks) + READS_A_BATCH["prdcls"], reads.of("reldn_d2")
    assert not reads.of("detectron2")


@pytest.mark.parametrize("overlap_only", ["False", "True"])
@pytest.mark.parametrize("task", ["sgdet", "sgcls"])
@pytest.mark.parametrize("images", [1, 3])
def test_predicted_entities(
    images: int, task: str, overlap_only: str, tiny_config: TinyConfig, gpu: None
) -> None:
    head = "MODEL.ROI_RELATION_HEAD"
    cfg = tiny_config(f"{head}.TEST.CHUNK_SIZE", "8", f"{head}.OVERLAP_ONLY", overlap_only)
    inputs = [make_input(12, [], seed=seed) for seed in range(images)]
    reads, chunks = reads_of_inference(make_model(cfg), task, inputs)
    assert len(chunks) > 1
    assert reads.number("reldn_d2") <= len(chunks) + READS_A_BATCH[task], reads.of("reldn_d2")
    # They grow with the images: proposals, suppression, and in sgcls nothing.
    assert bool(reads.of("detectron2")) == (task == "sgdet")


@pytest.mark.parametrize(("given", "method"), [(True, "paper"), (False, "paper"), (True, "published")])
@pytest.mark.parametrize("images", [1, 4])
def test_training(images: int, given: bool, method: str, tiny_config: TinyConfig, gpu: None) -> None:
    model = accelerate(make_model(tiny_config("MODEL.ROI_RELATION_HEAD.SAMPLING.METHOD", method))).train()
    inputs = [make_input(6, [(0, 1, 2), (0, 1, 3), (2, 3, 1)], seed=seed) for seed in range(images)]
    if given:
        for x in inputs:
            x["detections"] = detections_of(x["instances"])
    with EventStorage():
        model(inputs)
        with DeviceReads() as reads:
            losses = model(inputs)
            sum(losses.values()).backward()
    assert reads.number("reldn_d2") <= READS_A_STEP, reads.of("reldn_d2")
    assert reads.number("reldn_d2") == READS_A_STEP, "a read that is not needed any more: lower the constant"


def detections_of(truth: Instances) -> Instances:
    return Instances(
        truth.image_size,
        pred_boxes=Boxes(truth.gt_boxes.tensor + 1),
        pred_classes=truth.gt_classes,
        scores=torch.ones(len(truth)),
    )


# --- the counter itself

VALUES = torch.arange(4.0)
MASK = torch.tensor([True, False, True, False])
SCALAR = torch.tensor(1.0)


def _set_item() -> None:
    VALUES.clone()[MASK] = VALUES[:2]


READING: dict[str, Callable[[], object]] = {
    "index of booleans": lambda: VALUES[MASK],
    "assignment to booleans": _set_item,
    "index of a list": lambda: VALUES[[0, 1]],
    "nonzero": lambda: MASK.nonzero(),
    "nonzero as a tuple": lambda: MASK.nonzero(as_tuple=True),
    "where with one argument": lambda: torch.where(MASK),
    "item": lambda: SCALAR.item(),
    "tolist": lambda: VALUES.tolist(),
    "cpu": lambda: VALUES.cpu(),
    "numpy": lambda: VALUES.numpy(),
    "asarray": lambda: np.asarray(VALUES),
    "bool": lambda: bool(SCALAR),
    "int": lambda: int(SCALAR),
    "float": lambda: float(SCALAR),
    "if": lambda: 1 if MASK.any() else 0,
    "bincount": lambda: torch.bincount(torch.tensor([0, 1])),
    "repeat_interleave": lambda: VALUES.repeat_interleave(torch.tensor([1, 2, 0, 1])),
    "unique": lambda: VALUES.unique(),
    "unique of rows": lambda: torch.unique(VALUES[:, None], dim=0, return_inverse=True),
    "unique_consecutive": lambda: VALUES.unique_consecutive(),
    "masked_select": lambda: VALUES.masked_select(MASK),
    "equal": lambda: torch.equal(VALUES, VALUES),
    "tensor": lambda: torch.tensor([1.0, 2.0], device="cpu"),
    "as_tensor": lambda: torch.as_tensor([1.0, 2.0], device="cpu"),
    "new_tensor": lambda: VALUES.new_tensor([1.0, 2.0]),
    "finite boxes": lambda: Boxes(torch.ones(1, 4)).clip((2, 2)),
}


@pytest.mark.parametrize("name", sorted(READING))
def test_the_counter_counts(name: str) -> None:
    with DeviceReads() as reads:
        READING[name]()
    assert reads.number("") == 1, reads.found


def test_the_counter_does_not_count_what_reads_nothing() -> None:
    with DeviceReads() as reads:
        rows = torch.tensor([0, 2]).to("cpu", non_blocking=True)
        (VALUES[rows] + VALUES[:2]).sort(stable=True).values.topk(1)
        torch.where(MASK, VALUES, 0.0).masked_fill(MASK, 1.0)
        VALUES.repeat_interleave(2)
        torch.triu_indices(3, 3, offset=1)
        fixed_shapes._search_true_rows(MASK, 2)
    assert not reads.found


class PoolerOfAProject(ROIPooler):
    """A pooler that RelDN does not replace, because it may compute something else."""


def test_a_pooler_that_the_head_calls_counts_as_the_heads(tiny_config: TinyConfig) -> None:
    """Another pooler makes a GPU wait in each chunk. It also shows that the other tests can fail."""
    model = make_model(tiny_config())
    classifier: Any = model.relation_head.pair_classifier
    ours = classifier.pooler
    plain: Any = PoolerOfAProject.__new__(PoolerOfAProject)
    plain.__dict__.update(ours.__dict__)
    classifier.pooler = plain
    reads, chunks = reads_of_inference(model, "prdcls", [make_input(30, [], seed=seed) for seed in range(2)])
    assert reads.number("reldn_d2") > len(chunks) * 5
    assert any(read.what == "bincount" for read in reads.of("reldn_d2"))


# --- rows of masks


@pytest.mark.parametrize("size", [0, 1, 7, 1000])
def test_true_rows_equal_nonzero(size: int) -> None:
    random = torch.Generator().manual_seed(size)
    for share in (0.0, 0.3, 1.0):
        mask = torch.rand(size, generator=random) < share
        expected = mask.nonzero()[:, 0]
        for rows in (fixed_shapes.true_rows, fixed_shapes._search_true_rows):
            found = rows(mask, len(expected))
            assert found.dtype == torch.long and torch.equal(found, expected)
        (found,) = fixed_shapes.true_rows_of_each([mask])
        assert torch.equal(found, expected)
