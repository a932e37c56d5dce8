"""The benchmark counts correctly, and prints no time if answers differ."""

import math
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reldn_d2.evaluation import PROTOCOLS
from tools.benchmarks import __main__ as benchmark
from tools.benchmarks import (
    crowds,
    dataset_loading,
    evaluation,
    evaluation_memory,
    evaluation_summary,
    image_loading,
    losses,
    memory,
    sampling,
    sgdet_model,
    statistics,
    timing,
)
from tools.benchmarks.timing import AnswersDifferError, Row, Skipped, Timer

TIMER = Timer(seconds=0.01)


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "calibrate", lambda *_, **__: timing.Machine(2.0, 3.0, 0.5))


def test_a_row_counts_operators_and_flops() -> None:
    a, b = torch.rand(8, 16), torch.rand(16, 32)

    def product() -> Tensor:
        return (a @ b).t().relu().sum()  # the transposed view does not count

    row = TIMER.measure("product", product, slow=product, slow_name="same")
    assert isinstance(row, Row)
    assert row.operators == 3
    assert row.gflop == pytest.approx(2 * 8 * 16 * 32 / 1e9)
    assert row.ms > 0 and row.slow_ms > 0
    assert row.machine.gflop_per_second() == pytest.approx(2 * 1024**3 / 1e9 / 2e-3)
    assert row.limit_ms == pytest.approx(2.0 * 8 * 16 * 32 / 1024**3)


def test_a_backward_pass_is_counted() -> None:
    x = torch.rand(4, requires_grad=True)

    def operators(function: Callable[[], object]) -> int:
        row = TIMER.measure("", function, slow=function, slow_name="")
        assert isinstance(row, Row)
        return row.operators

    assert operators(lambda: torch.autograd.grad((x * 2).sum(), x)) > operators(lambda: (x * 2).sum())


def test_the_first_turn_is_left_out_and_functions_take_turns() -> None:
    calls: list[str] = []
    timer = Timer(seconds=0.0, turns=3)
    found = timer.medians([lambda: calls.append("a"), lambda: calls.append("b")])
    assert calls == ["a", "b"] * 3 and len(found) == 2


def test_a_row_in_bfloat16_has_the_limit_of_its_own_product() -> None:
    a, b = torch.rand(8, 16).bfloat16(), torch.rand(16, 32).bfloat16()

    def measured(bf16: bool) -> Row | Skipped:
        timer = Timer(seconds=0.01, bf16=bf16)
        return timer.measure("product", lambda: a @ b, slow=lambda: a @ b, slow_name="", precision="bf16")

    row, skipped = measured(True), measured(False)
    assert isinstance(row, Row) and row.limit_ms == pytest.approx(0.5 * 8 * 16 * 32 / 1024**3)
    assert isinstance(skipped, Skipped) and "no bfloat16 instructions" in skipped.reason


def test_the_machine_is_measured_in_the_precisions_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(timing, "_SIDES", {"cpu": 8})
    assert math.isnan(timing.calibrate().bf16_product_ms)
    machine = timing.calibrate(with_bf16=True)
    assert min(machine.matrix_product_ms, machine.bf16_product_ms, machine.small_operation_us) > 0
    assert machine.side == 8


def test_different_answers_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timer, "medians", lambda *_: pytest.fail("timed"))
    with pytest.raises(AnswersDifferError, match=r"^sum: not the answer of 'another sum'"):
        TIMER.measure("sum", lambda: torch.ones(()), slow=lambda: torch.zeros(()), slow_name="another sum")


def test_the_command_prints_no_ratio_of_different_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def rows(_: Timer) -> Iterator[Row | Skipped]:
        yield TIMER.measure("good", lambda: torch.ones(()), slow=lambda: torch.ones(()), slow_name="x")
        yield TIMER.measure("bad", lambda: torch.ones(()), slow=lambda: torch.zeros(()), slow_name="y")

    output = tmp_path / "table.md"
    monkeypatch.setattr(benchmark, "_PARTS", {"losses": rows})
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--only", "losses", "--output", str(output)])
    with pytest.raises(SystemExit, match="bad: not the answer of 'y'"):
        benchmark.main()
    assert "ratio" not in capsys.readouterr().out and not output.exists()


def test_the_command_writes_its_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def rows(_: Timer) -> Iterator[Row | Skipped]:
        yield Row("fast thing", 2.0, "slow thing", 8.0, 100, 1.0, timing.Machine(4.0, 5.0), note="seen")
        yield Skipped("strange thing", "it is strange")

    output = tmp_path / "table.md"
    monkeypatch.setattr(benchmark, "_PARTS", {"losses": rows})
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--only", "losses", "--output", str(output)])
    benchmark.main()
    lines = output.read_text().splitlines()
    cells = [cell.strip() for cell in lines[-3].split("|")[1:-1]]
    # 100 launches of 5 µs in 2 ms; 1 GFLOP at 2 GFLOP in 4 ms is 1.86 ms.
    numbers = ["2", "slow thing", "8", "4", "100", "25%", "1", "1.86", "93%", "4", "nan", "5"]
    assert cells == ["fast thing", *numbers, "seen"]
    assert lines[-1] == "Not measured: strange thing, since it is strange."


def test_a_quick_run_leaves_the_slowest_parts_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Timer] = []

    def part(name: str) -> Callable[[Timer], str]:
        return lambda timer: seen.append(timer) or name

    monkeypatch.setattr(benchmark, "_PARTS", {})
    monkeypatch.setattr(benchmark, "_TABLES", {})
    monkeypatch.setattr(benchmark, "_MEMORY_PARTS", {name: part(name) for name in ("peak_memory", "loading")})
    monkeypatch.setattr(memory, "can_measure", lambda: True)
    for options, expected in ((["--quick"], ["peak_memory"]), ([], ["peak_memory", "loading"])):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *options])
        benchmark.main()
        lines = [line for line in capsys.readouterr().out.splitlines() if line]
        assert lines[1:-1] == expected and lines[-1].startswith("The benchmark took ")
    assert [timer.turns for timer in seen] == [2, 4, 4] and not seen[0].slow_rows and seen[1].slow_rows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "cuda"], "PyTorch finds no GPU here"),
        (["--profile", "train"], "--profile needs --output"),
        (["--profile", "train", "--only", "losses"], "--profile measures no part"),
    ],
)
def test_wrong_usage_is_refused(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *options])
    with pytest.raises(SystemExit, match="2"):
        benchmark.main()
    assert message in capsys.readouterr().err


def test_a_gpu_is_not_used_for_a_part_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--device", "cuda", "--only", "losses"])
    with pytest.raises(SystemExit, match="2"):
        benchmark.main()
    assert "the parts for GPUs are training, inference" in capsys.readouterr().err


def test_both_mappers_are_timed_on_the_same_pictures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_loading, "_PHOTOS", 1)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--quick", "--only", "image_loading"])
    benchmark.main()
    table = [
        line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if "short side" in line
    ]
    assert table == [f"{mode}, short side {side}" for side in (800, 320) for mode in ("train", "test")]


def test_mappers_with_other_pictures_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_loading, "_PHOTOS", 1)
    monkeypatch.setattr(image_loading.DatasetMapper, "__call__", lambda *_: {"image": torch.zeros(3, 2, 2)})
    with pytest.raises(AnswersDifferError, match="short side 800: Detectron2's mapper gives another picture"):
        next(image_loading.loadings(Timer()))


def test_the_command_prints_the_memory_of_an_evaluation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluation_memory.Evaluation(26_000, 279.4, 1200.4, 30.2, 60.6)
    monkeypatch.setattr(evaluation_memory, "evaluations", lambda: iter([found]))
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--only", "evaluation_memory"])
    monkeypatch.setattr(memory, "can_measure", lambda: True)
    benchmark.main()
    line = next(x for x in reversed(capsys.readouterr().out.splitlines()) if x.startswith("|"))
    assert [cell.strip() for cell in line.split("|")[1:-1]] == ["26000", "279", "1200", "30", "61"]
    monkeypatch.setattr(memory, "can_measure", lambda: False)
    benchmark.main()
    assert "can't be measured" in capsys.readouterr().out


def test_the_command_measures_summaries_of_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluation_summary, "_IMAGES", 5)
    rows = [(name, 10, 4) for name in PROTOCOLS]
    monkeypatch.setattr(evaluation_summary, "_SUMMARIES", rows)
    # Processes of their own would be without these settings.
    monkeypatch.setattr(evaluation_summary, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(evaluation_summary, "watch_peak", lambda: lambda: 3.0)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--only", "evaluation_summary"])
    monkeypatch.setattr(memory, "can_measure", lambda: True)
    benchmark.main()
    table = [x.split("|")[1:-1] for x in capsys.readouterr().out.splitlines() if x.startswith("|")][2:]
    assert [(name.strip(), int(images), int(size)) for name, images, size, *_ in table] == rows
    assert all(float(cells[4]) == 3 for cells in table)


def test_the_command_prints_what_a_crowded_image_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crowds, "crowded_images", lambda: iter([crowds.CrowdedImage(4, 6, 18, 0.5, 0.25, 3)]))
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--only", "crowds"])
    monkeypatch.setattr(memory, "can_measure", lambda: True)
    benchmark.main()
    line = next(x for x in reversed(capsys.readouterr().out.splitlines()) if x.startswith("|"))
    assert [cell.strip() for cell in line.split("|")[1:-1]] == ["4", "6", "18", "0.5", "0.25", "3"]


@pytest.mark.skipif(
    not memory.can_measure(), reason="the system does not tell how much memory a process holds"
)
def test_a_crowded_image_is_measured() -> None:
    found = crowds.measure(20, 40)
    assert (found.boxes, found.relationships) == (20, 40) and 100 < found.triplets <= 20 * 19
    relations = crowds.crowd(20, 40).relations
    assert len({*map(tuple, relations.tolist())}) == 40 and (relations[:, 0] != relations[:, 1]).all()


def loading(form: dataset_loading.Form, factor: float, answer: str = "same") -> dataset_loading.Loading:
    numbers = {
        "load_seconds": 2.0,
        "check_seconds": 1.5,
        "peak_mb": 200.0,
        "dicts_mb": 90.0,
        "serialised_mb": 60.0,
        "serialise_seconds": 1.0,
        "count_seconds": 0.5,
        "overlap_seconds": 0.7,
    }
    return dataset_loading.Loading(
        form,
        62_723,
        727_684,
        408_268,
        **{what: value * factor for what, value in numbers.items()},
        answer=answer,
    )


def test_the_command_prints_what_loading_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [loading("arrays", 1), loading("lists", 4)]
    monkeypatch.setattr(dataset_loading, "loadings", lambda: iter(found))
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--only", "loading"])
    monkeypatch.setattr(memory, "can_measure", lambda: True)
    benchmark.main()
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert cells[0][0] == "62723 images, 727684 entities, 408268 relationships"
    assert cells[2] == ["load, s", "2", "8", "4"]
    assert cells[4] == ["dicts, MB", "90", "360", "4"]
    assert cells[7] == ["check, s", "1.5", "6", "4"]
    assert cells[-1] == ["statistics with the overlap rule, s", "0.7", "2.8", "4"]


@pytest.mark.skipif(
    not memory.can_measure(), reason="the system does not tell how much memory a process holds"
)
def test_both_forms_of_a_generated_data_set_are_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # starting processes takes longer than all other tests of this file
    monkeypatch.setattr(dataset_loading, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    dataset_loading.write_data_set(tmp_path, train=300, test=60, others=40)
    for image in dataset_loading._load(str(tmp_path), "arrays"):
        assert (image["relations"][:, 0] != image["relations"][:, 1]).all()
    rules: list[bool] = []

    def counts(*arguments: Any, overlap_only: bool) -> Any:
        rules.append(overlap_only)
        return statistics.predicate_counts(*arguments, overlap_only=overlap_only)

    monkeypatch.setattr(dataset_loading, "predicate_counts", counts)
    arrays, lists = (dataset_loading.measure_loading(str(tmp_path), form) for form in ("arrays", "lists"))
    for found, form in ((arrays, "arrays"), (lists, "lists")):
        assert (found.form, found.images) == (form, 300)
        assert 11 < found.entities / 300 < 12.2 and 6 < found.relationships / 300 < 7
        seconds = (found.load_seconds, found.check_seconds, found.serialise_seconds)
        assert (
            min(*seconds, found.count_seconds, found.overlap_seconds) > 0
            and found.peak_mb >= 0
            and found.serialised_mb > 0.1
        )
    assert arrays.answer == lists.answer and rules == [False, True] * 2
    assert lists.dicts_mb > 2 * arrays.dicts_mb > 0.2
    # 62,723 images of Visual Genome should need less than 200 MB
    assert arrays.dicts_mb / 300 * 62_723 < 200


def test_different_counts_of_the_two_forms_are_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_loading, "write_data_set", lambda *_: None)
    monkeypatch.setattr(dataset_loading, "measure_loading", lambda _, form: loading(form, 1, answer=form))
    with pytest.raises(AnswersDifferError, match="lists of annotations do not give the counts of arrays"):
        next(dataset_loading.loadings())


def test_the_evaluation_that_is_timed_finds_some_relationships_and_misses_others() -> None:
    case = evaluation.make_case(0)
    assert len(case.pairs.score) == 9_900 and len(case.truth.relations) == 20
    metrics = evaluation._fast(case, evaluation.motifs())
    evaluation._same(metrics, evaluation._usual_motifs(case))
    assert 0 < metrics["R@20"] < metrics["R@50"] < metrics["ngR@50"] < metrics["ngR@100"] < 100
    metrics = evaluation._fast(case, evaluation.reldn(evaluation.KS))
    evaluation._same(metrics, evaluation._usual_reldn(case))
    assert 0 < metrics["rel_k1_R@50"] < metrics["rel_k2_R@50"] < 100 and metrics["phr_k70_R@100"] > 0


@pytest.mark.parametrize("change", [{"R@50": 1.0}, {"another": 0.0}])
def test_a_wrong_or_a_further_metric_is_seen(change: dict[str, float]) -> None:
    metrics = {"R@50": 100.0, "R@100": float("nan")}
    evaluation._same(metrics, dict(metrics))
    with pytest.raises(AssertionError):
        evaluation._same(metrics | change, metrics)


@pytest.mark.skipif(
    not memory.can_measure(), reason="the system does not tell how much memory a process holds"
)
def test_an_evaluation_is_measured_and_leaves_no_data_set() -> None:
    for every_pair, triplets in ((False, range(100, 500)), (True, range(9_900, 9_901))):
        found = evaluation_memory.evaluate(2, every_pair)
        assert found.images == 2 and found.triplets in triplets
        assert found.peak_mb > 100 and found.process_seconds > 0 and found.evaluate_seconds > 0
    assert evaluation_memory._NAME not in evaluation_memory.DatasetCatalog.list()


def test_the_answers_that_are_timed_are_equal() -> None:
    batch = losses._batch(30, 9, 57)
    assert int(batch.targets.subject_side.sum()) == int(batch.targets.object_side.sum()) == 512
    assert int(batch.targets.related.sum()) == 128
    losses._same(losses._together(batch), losses._slow(batch))
    losses._same(losses._together(batch), losses._one_by_one(batch))
    case = sampling._case(64)
    sampling._same(case, sampling._fast(case), sampling.slow_draws(case))


def test_the_counts_that_are_timed_are_equal() -> None:
    images = statistics.generate(40, 6.6, 7.6, 5, 3)
    assert 5 < sum(len(image["annotations"]) for image in images) / 40 < 8
    assert (
        statistics.describe(images) == f"40 images, {sum(len(x['relations']) for x in images)} relationships"
    )
    for overlap_only in (False, True):
        counts = statistics.predicate_counts(images, 5, 3, overlap_only=overlap_only)
        np.testing.assert_array_equal(counts, statistics.slow_counts(images, 5, 3, overlap_only, "unrelated"))
        assert (counts.sum(axis=(0, 1)) > 0).all()


@pytest.mark.parametrize("break_it", [lambda x: [*x[:-1], x[-1] * 1.01], lambda x: [x[0] + 0.01, *x[1:]]])
def test_a_wrong_loss_or_gradient_is_seen(break_it: Callable[[list[Tensor]], list[Tensor]]) -> None:
    batch = losses._batch(30, 9, 57)
    with pytest.raises(AssertionError):
        losses._same(break_it(losses._together(batch)), losses._together(batch))


def test_the_committed_detections_are_what_the_row_says() -> None:
    photos = sgdet_model.photos(600)
    assert [len(found) for found in photos] == [100] * 4
    for found in photos:
        assert min(found.image_size) == 600
        boxes = found.pred_boxes.tensor
        assert (boxes[:, 2:] > boxes[:, :2]).all() and (boxes >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor(found.image_size[::-1]) + 1e-3).all()
        assert ((found.scores > 0.05) & (found.scores <= 1)).all()
