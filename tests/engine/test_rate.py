"""The line about a learning rate for each image that overrides moved far."""

import logging
from pathlib import Path

import pytest

from reldn_cli.commands import COMMANDS
from reldn_cli.main import parse
from reldn_d2.cli.common import load_run_config
from reldn_d2.engine import load_config, override_config, parts_of, set_up_run, setup
from reldn_d2.engine.rate import Rate
from tests.builders.tiny_runs import KINDS, arguments

FILES = {"yaml": "scenes/reldn.yaml", "python": "lazy/scenes_reldn.py"}  # both: 0.01 / 8
SAME = Rate(0.01, 8)


def moved(kind: str, *opts: str) -> str:
    cfg = load_config(FILES[kind])
    rate = Rate.of(parts_of(cfg))
    assert rate == SAME
    override_config(cfg, list(opts), FILES[kind])
    return rate.describe_move(parts_of(cfg), FILES[kind])


def test_a_smaller_batch_at_the_same_rate() -> None:
    assert moved("yaml", "SOLVER.IMS_PER_BATCH", "1") == (
        "SOLVER.BASE_LR / SOLVER.IMS_PER_BATCH is 0.01 / 1 in this run and 0.01 / 8 in scenes/reldn.yaml: "
        "the learning rate for each image is 8 times as high. The linear scaling rule keeps it: "
        "SOLVER.BASE_LR 0.00125"
    )
    assert moved("python", "dataloader.train.total_batch_size=1") == (
        "optimizer.lr / dataloader.train.total_batch_size is 0.01 / 1 in this run and 0.01 / 8 in "
        "lazy/scenes_reldn.py: the learning rate for each image is 8 times as high. The linear scaling rule "
        "keeps it: optimizer.lr=0.00125"
    )


def test_a_lower_rate() -> None:
    message = moved("yaml", "SOLVER.BASE_LR", "0.001")
    assert "is 10 times lower" in message and message.endswith("SOLVER.BASE_LR 0.01")


@pytest.mark.parametrize(
    ("rate", "size", "is_far"),
    [
        *((0.01, 8, False), (0.0025, 2, False), (0.08, 64, False), (0.01, 32, False)),
        *((0.01, 2, False), (0.04, 8, False), (0.0401, 8, True), (0.01, 33, True), (0.0024, 8, True)),
        (0.0, 8, False),  # nothing is trained, whatever the batch
    ],
)
def test_more_than_four_times_is_far(rate: float, size: int, is_far: bool) -> None:
    words = ("SOLVER.BASE_LR", str(rate), "SOLVER.IMS_PER_BATCH", str(size))
    assert bool(moved("yaml", *words)) == is_far


def test_a_config_that_names_no_rate_is_not_compared() -> None:
    cfg = load_config(FILES["python"])
    del cfg.optimizer["lr"]
    assert Rate(0.1, 1).describe_move(parts_of(cfg), "x.py") == ""
    assert Rate.of(parts_of(cfg)).describe_move(parts_of(load_config(FILES["yaml"])), "x.yaml") == ""


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "reldn_d2.engine.setup"]


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Collects what the setup says. Its logger passes nothing on."""
    logging.getLogger("reldn_d2.engine.setup").addHandler(caplog.handler)
    return caplog


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eval_only", [False, True])
def test_train_net_says_it_once_and_only_for_a_training(
    kind: str, eval_only: bool, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    batch = {"yaml": ("SOLVER.IMS_PER_BATCH", "16"), "python": ("dataloader.train.total_batch_size=16",)}
    setup(arguments(kind, *batch[kind], output=tmp_path / "run", seed=1, eval_only=eval_only))
    said = [line for line in lines_of(messages) if "times lower" in line]
    assert len(said) == (0 if eval_only else 1)


def test_so_does_the_command(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    words = [
        "--config-file",
        FILES["yaml"],
        "--output",
        str(tmp_path),
        "--seed",
        "1",
        "SOLVER.BASE_LR",
        "1.0",
    ]
    args = parse(COMMANDS["train"], words)
    run = load_run_config(args, ("output", "seed"))
    assert run.rate == SAME
    set_up_run(run.cfg, run.config_file, run.opts, rate=run.rate)
    assert any("100 times as high" in line for line in lines_of(messages))


def test_a_reference_world_size_keeps_the_rate(tmp_path: Path) -> None:
    cfg = load_config("vg/reldn_vgg16.yaml")
    assert cfg.SOLVER.REFERENCE_WORLD_SIZE == 8
    parts = parts_of(cfg)
    scaled = parts.scaled_to(1)
    assert scaled.batch_size != parts.batch_size
    assert Rate.of(parts).describe_move(scaled, "x.yaml") == ""


def test_a_batch_that_the_reference_world_size_does_not_divide_is_refused() -> None:
    parts = parts_of(load_config("vg/reldn_vgg16.yaml", ["SOLVER.IMS_PER_BATCH", "4"]))
    with pytest.raises(ValueError, match=r"is 4, and is no multiple of SOLVER\.REFERENCE_WORLD_SIZE 8, "):
        parts.scaled_to(1)
    # With the config's own number of processes nothing is scaled.
    assert parts.scaled_to(8).batch_size == 4
    parts = parts_of(
        load_config("vg/reldn_vgg16.yaml", ["SOLVER.IMS_PER_BATCH", "4", "SOLVER.REFERENCE_WORLD_SIZE", "0"])
    )
    assert parts.scaled_to(1).batch_size == 4
