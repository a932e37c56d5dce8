"""The length of a run: a finished run says so, a longer one goes on, a shorter one is refused."""

import json
from pathlib import Path

import pytest
import torch

from reldn_d2.engine import Trainer, setup
from tests.builders.tiny_runs import KINDS, arguments, train

# Of these answers only the name of the key depends on the kind of config. A longer run shows both kinds.
every_kind = pytest.mark.parametrize("kind", ["yaml", pytest.param("python", marks=pytest.mark.slow)])
WARM_UP = ("SOLVER.WARMUP_ITERS", "50")


def rates(output: Path) -> list[float]:
    """Learning rates as they were logged."""
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    return [line["lr"] for line in lines if "total_loss" in line]


def trained(output: Path) -> list[int]:
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    return [line["iteration"] for line in lines if "total_loss" in line]


@every_kind
def test_a_finished_run_says_so_and_is_not_evaluated_again(
    kind: str,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "run"
    _, results = train(kind, output=output, weights=weights)
    before = {file: file.read_bytes() for file in output.glob("*") if file.suffix in (".pth", ".json", ".md")}
    capsys.readouterr()
    monkeypatch.setattr(Trainer, "test", None)  # it is not called
    _, again = train(kind, output=output, weights=weights, resume=True)
    assert again == results and results["prdcls/motifs"]["R@50"] >= 0
    out = capsys.readouterr().out
    key = {"yaml": "SOLVER.MAX_ITER", "python": "train.max_iter"}[kind]
    assert f"had finished already: 3 iterations. To go on, set {key} higher" in out
    assert str(output / "model_final.pth") in out and "R@50 of prdcls/motifs" in out
    assert {file: file.read_bytes() for file in before} == before


@every_kind
@pytest.mark.parametrize("why", ["no summary", "another task"])
def test_a_finished_run_without_its_evaluation_is_evaluated(
    kind: str, why: str, weights: str, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    _, results = train(kind, output=output, weights=weights)
    if why == "no summary":
        (output / "summary.json").unlink()
        assert train(kind, output=output, weights=weights, resume=True)[1] == results
    else:
        _, other = train(kind, output=output, weights=weights, resume=True, task="sgcls")
        assert {key.split("/")[0] for key in other} == {"sgcls"}
    assert trained(output) == [2] and (output / "summary.json").is_file()


@every_kind
def test_a_run_is_not_made_shorter_than_it_is(kind: str, weights: str, tmp_path: Path) -> None:
    train(kind, output=tmp_path / "run", weights=weights, max_iter=5)
    key = {"yaml": "SOLVER.MAX_ITER", "python": "train.max_iter"}[kind]
    with pytest.raises(
        ValueError, match=rf"{key} is 4, but .*model_final\.pth has trained 5 iterations"
    ) as caught:
        train(kind, output=tmp_path / "run", weights=weights, max_iter=4, resume=True)
    assert f"set {key} to 5 or more" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_longer_run_goes_on_and_says_that_the_rate_stays(
    kind: str, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    train(kind, output=output, weights=weights)
    capsys.readouterr()
    trainer, _ = train(kind, output=output, weights=weights, max_iter=5, resume=True)
    rate = 0.001 if kind == "yaml" else 0.0001  # after the step of the Python config
    said = "The training goes on at iteration 3 and ends after 5 instead of 3 iterations. The learning rate"
    assert f"{said} there is {rate}, as before; schedule: " in capsys.readouterr().out
    assert trainer.start_iter == 3 and trained(output) == [2, 4]
    assert rates(output) == pytest.approx([rate, rate])
    # The folder says how long the run is now, so it can be resumed with its own config.
    saved = (output / "config.yaml").read_text()
    assert ("MAX_ITER: 5" if kind == "yaml" else "max_iter: 5") in saved
    assert json.loads((output / "summary.json").read_text())["iterations"] == 5
    assert torch.load(output / "model_final.pth")["iteration"] == 4


@pytest.mark.parametrize("longer", [40, 60])
def test_a_run_shorter_than_its_warm_up_says_what_the_longer_warm_up_does(
    longer: int, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Detectron2 cuts a warm-up of 50 iterations to 3, to 40, and not at all."""
    output = tmp_path / "run"
    train("yaml", *WARM_UP, output=output, weights=weights)
    trainer = Trainer(
        setup(arguments("yaml", *WARM_UP, output=output, weights=weights, max_iter=longer, resume=True))
    )
    capsys.readouterr()
    trainer.resume_or_load(resume=True)
    out = capsys.readouterr().out
    trainer.scheduler.step()
    now = 0.001 * (0.001 * (1 - 3 / min(longer, 50)) + 3 / min(longer, 50))
    assert (
        f"The learning rate there was 0.001 and is now {now:.4g}, since the schedule depends on the length"
        in out
    )
    assert "a warm-up never takes longer than the training" in out
    assert f"warm-up of {min(longer, 50)} iterations" in out
    # The rate of the next step is what is announced.
    assert trainer.scheduler.get_last_lr()[0] == pytest.approx(now, rel=0.4)


@pytest.mark.parametrize(
    "options",
    [
        ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"],
        ["SOLVER.WARMUP_ITERS", "2", "SOLVER.RESCALE_INTERVAL", "True"],
    ],
    ids=["cosine", "rescaled"],
)
def test_any_schedule_may_grow(
    options: list[str], weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("yaml", *options, output=tmp_path / "run", weights=weights)
    trainer, _ = train("yaml", *options, output=tmp_path / "run", weights=weights, max_iter=4, resume=True)
    assert trainer.start_iter == 3
    out = capsys.readouterr().out
    assert "ends after 4 instead of 3 iterations. The learning rate there " in out
    if options[1] == "WarmupCosineLR":
        assert "was 0 and is now 0.0001464" in out  # (1 + cos(pi * 3 / 4)) / 2 of 0.001


def test_a_run_of_the_same_length_says_nothing_about_it(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("yaml", "SOLVER.CHECKPOINT_PERIOD", "1", output=tmp_path / "run", weights=weights)
    (tmp_path / "run" / "last_checkpoint").write_text("model_0000000.pth")
    capsys.readouterr()
    trainer, _ = train("yaml", output=tmp_path / "run", weights=weights, resume=True)
    out = capsys.readouterr().out
    assert trainer.start_iter == 1 and "instead of" not in out and "after 1 iterations" in out
