"""A run has a seed that is known: given, drawn, or that of the run which is resumed."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.utils import comm

from reldn_d2.engine import parts_of, setup
from reldn_d2.engine.seed import drawn_seed, saved_seed
from tests.builders.processes import run_in_processes
from tests.builders.tiny_models import REPOSITORY

YAML = str(REPOSITORY / "configs" / "scenes" / "reldn.yaml")
LAZY = str(REPOSITORY / "tests" / "builders" / "tiny_lazy.py")
KINDS = {"yaml": (YAML, "SEED", "OUTPUT_DIR"), "python": (LAZY, "train.seed", "train.output_dir")}


def args_of(kind: str, folder: Path, seed: int | None = None, **flags: bool) -> Namespace:
    config, seed_key, output = KINDS[kind]
    pairs = [(output, str(folder)), *([(seed_key, str(seed))] if seed is not None else [])]
    opts = [word for pair in pairs for word in ([*pair] if kind == "yaml" else ["=".join(pair)])]
    return Namespace(config_file=config, opts=opts, **{"resume": False, "eval_only": False, **flags})


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawn_seed_is_used_printed_and_saved(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = []
    for name in ("a", "b", "c"):
        parts = parts_of(setup(args_of(kind, tmp_path / name)))
        drawn = torch.rand(1), np.random.rand()
        assert parts.seed >= 0 and saved_seed(tmp_path / name / "config.yaml", parts.keys.seed) == parts.seed
        assert f"seed {parts.seed} (drawn)" in " ".join(capsys.readouterr().out.split())
        # The seed alone repeats the run.
        setup(args_of(kind, tmp_path / f"{name} again", parts.seed))
        assert (torch.rand(1), np.random.rand()) == drawn
        seeds.append(parts.seed)
    assert len(set(seeds)) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_of_the_config_is_kept(kind: str, tmp_path: Path) -> None:
    assert parts_of(setup(args_of(kind, tmp_path, 7))).seed == 7


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_keeps_its_seed_unless_another_is_given(kind: str, tmp_path: Path) -> None:
    first = parts_of(setup(args_of(kind, tmp_path))).seed
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    (tmp_path / "model_final.pth").touch()
    assert parts_of(setup(args_of(kind, tmp_path, resume=True))).seed == first
    assert parts_of(setup(args_of(kind, tmp_path, first + 1, resume=True))).seed == first + 1


@pytest.mark.parametrize("content", [None, "SEED: -1", "- a list", "SEED: [", "SEED: 1.5", "OTHER: 3"])
def test_without_a_saved_seed_there_is_none(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_text(content)
    assert saved_seed(file, "SEED") is None


def test_reading_a_seed_runs_no_code(tmp_path: Path) -> None:
    file, made = tmp_path / "config.yaml", tmp_path / "made"
    call = f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{made}']]"
    file.write_text(f"train:\n  seed: 3\nmodel: {call}\n")
    assert saved_seed(file, "train.seed") == 3 and not made.exists()


def test_drawing_does_not_depend_on_the_state_of_random_numbers() -> None:
    draws = set()
    for _ in range(5):
        np.random.seed(0)
        torch.manual_seed(0)
        draws.add(drawn_seed())
    assert len(draws) > 1 and all(0 <= x < 1_000_000 for x in draws)


@pytest.mark.slow
def test_all_processes_draw_the_same_seed(tmp_path: Path) -> None:
    run_in_processes(save_drawn, 2, tmp_path, tmp_path)
    seeds = {file.read_text() for file in tmp_path.glob("*.seed")}
    assert len(list(tmp_path.glob("*.seed"))) == 2 and len(seeds) == 1


def save_drawn(folder: Path) -> None:
    (folder / f"{comm.get_rank()}.seed").write_text(str(drawn_seed()))
