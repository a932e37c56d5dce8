"""The benchmarks of whole models, at sizes that take a second: they give rows, and refuse other answers."""

import gzip
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from torch import nn

from reldn_d2.engine import load_config
from tests.builders.tiny_models import NARROW_HEADS
from tools.benchmarks import (
    inference,
    memory,
    peak_memory,
    profiles,
    published,
    roi_align,
    sgdet_model,
    timing,
    training,
)
from tools.benchmarks.timing import AnswersDifferError, Row, Skipped, Timer
from tools.benchmarks.ways import ACCELERATED, ACCELERATED_BF16, AS_BUILT, Way

TIMER = Timer(slow_rows=False, bf16=False)
SMALL = [*NARROW_HEADS, "MODEL.RESNETS.NORM", "FrozenBN"]
SIZE = (64, 96)


def tiny_photos(short_side: int) -> list[Instances]:
    """Ten detections of each of two photos."""
    assert short_side > 0
    return [sgdet_model.resized(found[:10], SIZE) for found in sgdet_model.photos(600)[:2]]


def tiny_config(model: str) -> CfgNode:
    opts = ["MODEL.WEIGHTS", "", "SOLVER.BASE_LR", "0.0", "INPUT.MIN_SIZE_TRAIN", "(64,)"]
    return load_config(training.MODELS[model], [*opts, *NARROW_HEADS])


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "calibrate", lambda *_, **__: timing.Machine(2.0, 3.0, 0.5))
    # Whether functions take turns is tested elsewhere; here they run once, to be compared and counted.
    monkeypatch.setattr(Timer, "medians", lambda *_: [1.0, 2.0])
    monkeypatch.setattr(training, "config", tiny_config)
    monkeypatch.setattr(training.Step.__init__, "__defaults__", (2,))  # scenes
    for module in (inference, published, peak_memory):
        monkeypatch.setattr(module, "r50_config", lambda: load_config("scenes/tiny_reldn.yaml", SMALL))
        monkeypatch.setattr(module, "photos", tiny_photos)
    monkeypatch.setattr(inference.photos_of_one_size, "__defaults__", (SIZE,))
    monkeypatch.setattr(inference.Detector.__init__, "__defaults__", (SIZE,))
    monkeypatch.setattr(inference, "BATCHES", (1, 2, 3))


def names(rows: Iterator[Row | Skipped], kind: type[Row | Skipped]) -> list[str]:
    return [row.name for row in rows if isinstance(row, kind)]


def test_training_steps_are_measured() -> None:
    rows = list(training.rows(TIMER))
    assert names(iter(rows), Row) == [
        f"training step of the 8 scenes' {model}, accelerated, fp32" for model in ("detector", "RelDN")
    ]
    assert len(names(iter(rows), Skipped)) == 2
    assert all(row.gflop > 0.1 and row.operators > 500 for row in rows if isinstance(row, Row))


@pytest.mark.parametrize("model", training.MODELS)
def test_steps_repeat_and_wrong_losses_and_gradients_are_seen(model: str) -> None:
    step = training.Step(training.config(model), AS_BUILT, "cpu")
    if model == "RelDN":
        assert [20 <= len(x["detections"]) <= 40 for x in step.inputs] == [True, True]
    first, second = step(), step()
    training.same_losses(first, second, tolerance=0.0)
    assert all(loss.isfinite() and loss > 0 for loss in first[0].values())
    losses, gradients = first
    name = min(losses)
    for wrong in (
        ({**losses, name: losses[name] * 1.1}, gradients),
        (losses, [x * 1.1 for x in gradients]),
        (losses, gradients[:-1]),
        ({"loss_other": losses[name]}, gradients),
    ):
        with pytest.raises(AssertionError):
            training.same_losses(wrong, second, tolerance=0.01)


def test_photos_are_measured() -> None:
    found = names(inference.rows(TIMER), Row)
    assert found == [
        "R-50-FPN detector, a photo of 600 × 800, accelerated, fp32",
        "R-50-FPN sgdet, batch of 1, accelerated, fp32",
        "R-50-FPN sgdet, batch of 2, accelerated, fp32",
    ]


def broken(way: Way, model: nn.Module) -> nn.Module:
    """A model whose feature maps of predicates are noise once it was prepared for a way."""
    if way.accelerated and hasattr(model, "relation_backbone"):
        with torch.no_grad():
            for weight in model.relation_backbone.parameters():
                weight.normal_()
    return model


def test_another_answer_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Way, "prepare", broken)
    with pytest.raises(
        AnswersDifferError, match=r"batch of 1, .*not the answer of 'as built, fp32, one by one'"
    ):
        list(inference.rows(TIMER))
    with pytest.raises(AnswersDifferError, match="not the answer of 'published arrangement, fp32'"):
        list(published.rows(TIMER))


def test_the_published_arrangement_gives_the_same_lists() -> None:
    assert names(published.rows(TIMER), Row) == [
        "R-50-FPN sgdet of 1 photo(s), end to end, accelerated, fp32"
    ]
    model = inference.photo_model(AS_BUILT, "cpu")
    found = tiny_photos(64)
    theirs = published.PublishedArrangement(model, AS_BUILT, found)()
    ours = inference.Predict(model, AS_BUILT, found, 1)()
    inference.same_answers(ours, theirs)
    assert all(len(x) >= 100 and int(x.rank_in_pair.max()) > 1 for x in ours)
    assert inference.recall_of_best(ours, theirs) == 1
    # Without half of its best triplets, a list has half of the recall.
    half = [x[torch.arange(len(x)) >= 50] for x in ours]
    assert inference.recall_of_best(half, theirs) == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_bfloat16_is_compared_by_recall() -> None:
    rows = list(published.rows_of(Timer(), "photo", tiny_photos(64)[:1]))
    notes = [row.note for row in rows if isinstance(row, Row)]
    assert notes[0] == "" and all(note.endswith("are among our 100 best") for note in notes[1:])
    assert rows[2].name == "photo, accelerated, bf16"


@pytest.mark.parametrize("sampling_ratio", [2, 0])
@pytest.mark.parametrize("layout", ["channels last", "NCHW"])
def test_both_ways_of_roi_align_are_measured(layout: str, sampling_ratio: int) -> None:
    case = roi_align.Case(6, 4, 2, 16, 24, sampling_ratio, layout)
    rows = list(roi_align.rows_of(TIMER, case))
    assert [row.name.split(",")[0] for row in rows] == ["RoIAlign forward", "RoIAlign forward and backward"]
    for row in rows:
        assert isinstance(row, Row) and row.note.startswith("the rule takes ")
        assert row.operators < 200
    pooling = roi_align.Pooling(case)
    pooled, gradient = pooling.sparse(True)
    assert gradient.shape == pooling.maps.shape and float(gradient.abs().max()) > 0
    with pytest.raises(AssertionError):
        roi_align._same([pooled, gradient * 1.01], pooling.torchvision(True))


def test_the_verdict_names_the_choice_and_whether_it_was_right() -> None:
    row = Row("", 1.0, "torchvision", 2.0, 0, 0.0, timing.Machine(1.0, 1.0))
    assert roi_align._verdict("sparse", row) == "the rule takes sparse, which was faster"
    assert roi_align._verdict("torchvision", row) == "the rule takes torchvision, which was not faster"


def test_the_peaks_of_all_ways_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[peak_memory.Maker] = []

    def measured(make: peak_memory.Maker, device: str) -> float:
        made.append(pickle.loads(pickle.dumps(make)))  # as for another process
        return float(len(made))

    monkeypatch.setattr(peak_memory, "in_own_process", measured)
    found = list(peak_memory.peaks(TIMER))
    assert [x.name.split(",")[-1].strip() for x in found] == [
        "training step of the scenes' detector",
        "training step of the scenes' RelDN",
        "batch of 1",
        "published arrangement",
    ]
    assert [list(x.peaks) for x in found] == [["as built, fp32", "accelerated, fp32"]] * 3 + [
        ["as built, fp32"]
    ]
    # Models as they are built get one photo at a time.
    batches = [peak_memory._photos(2, way, "cpu") for way in (AS_BUILT, ACCELERATED)]
    assert [x.batch_size for x in batches] == [1, 2]


@pytest.mark.skipif(
    not memory.can_measure(), reason="the system does not tell how much memory a process holds"
)
def test_a_peak_counts_what_is_held_and_what_calls_take() -> None:
    held: list[torch.Tensor] = []

    def make(device: str) -> Callable[[], object]:
        held.append(torch.ones(25_000_000, device=device))
        return lambda: float(torch.ones(50_000_000).sum())

    assert 290 < peak_memory.peak_of(make, "cpu") < 400


def test_a_profile_is_a_table_and_a_trace(tmp_path: Path) -> None:
    x = torch.ones(8, 8)
    table = profiles.write_profile(lambda: (x @ x).relu(), TIMER, tmp_path, "a step, fp32")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert lines[0] == ["operator", "calls", "own time on the CPU, ms", "share"]
    assert {"aten::mm", "aten::relu"} <= {line[0] for line in lines[2:]} and lines[-1][0] == "all"
    assert {file.name for file in tmp_path.iterdir()} == {"a_step_fp32.md", "a_step_fp32.json.gz"}
    assert (tmp_path / "a_step_fp32.md").read_text() == f"{table}\n"
    trace = json.loads(gzip.decompress((tmp_path / "a_step_fp32.json.gz").read_bytes()))
    assert any(event.get("name") == "aten::mm" for event in trace["traceEvents"])


@pytest.mark.parametrize(("kind", "works"), [("train", 2), ("predict", 1)])
def test_each_way_is_profiled(kind: str, works: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "write_profile", lambda *_: "table")
    found = list(profiles.write_profiles(kind, TIMER, tmp_path))
    assert [text.split("\n")[0].split(",", 1)[1] for text in found] == [
        *[" as built, fp32"] * works,
        *[" accelerated, fp32"] * works,
    ]


def test_ways_have_names() -> None:
    assert [str(way) for way in (AS_BUILT, ACCELERATED, ACCELERATED_BF16)] == [
        "as built, fp32",
        "accelerated, fp32",
        "accelerated, bf16",
    ]


def test_a_build_without_sparse_products_measures_no_roi_align(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roi_align, "HAS_SPARSE_PRODUCT", False)
    (row,) = roi_align.rows(TIMER)
    assert row == Skipped("RoIAlign", "this build of PyTorch has no product of sparse matrices")
