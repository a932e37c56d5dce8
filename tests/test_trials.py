"""Trainings of minutes, whose figures docs/results.md gives. They are run by hand: `make trials`."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reldn_d2.data import register_data_file
from reldn_d2.recipes import SCRATCH, train_small
from tests.builders.own_data import scenes_as_own_data
from tests.builders.tiny_models import REPOSITORY


def confusion(output: Path, model: str, task: str) -> dict[str, float]:
    """The results of protocol `confusion`, in percent."""
    path = output / model / "inference" / "reldn_scenes_test" / task / "relation_results.csv"
    with path.open(newline="") as file:
        return {
            row["metric"]: float(row["value"])
            for row in csv.DictReader(file)
            if row["protocol"] == "confusion"
        }


@pytest.mark.trial
def test_the_small_recipe_reaches_the_demo_on_its_scenes(tmp_path: Path) -> None:
    """The built-in scenes as a user's own data: 24 minutes on two busy cores (November 2026)."""
    torch.set_num_threads(os.cpu_count() or 1)
    data = register_data_file(scenes_as_own_data(tmp_path))
    found = train_small(
        data, output=tmp_path / "out", weights=SCRATCH, device="cpu", opts=("SEED", "1")
    ).results
    assert found["bbox"]["AP50"] > 99
    assert found["prdcls/motifs"]["R@20"] > 98 and found["sgdet/motifs"]["R@20"] > 98


@pytest.mark.trial
def test_the_demo_solves_confusable_cases(tmp_path: Path) -> None:
    """`reldn demo` takes minutes. Two runs kept these limits (November 2026)."""
    command = [sys.executable, "-m", "reldn_cli", "demo", "--output", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    for task in ("prdcls", "sgdet"):
        for model in ("reldn_l0", "reldn"):
            found = confusion(tmp_path, model, task)
            assert found["entity_instance_right"] > 85 and found["proximal_right"] > 70, (model, task, found)
            assert found["entity_instance_missed"] == found["proximal_missed"] == 0
        without_pixels = confusion(tmp_path, "semantic_spatial", task)
        assert without_pixels["entity_instance_right"] < 65 and without_pixels["proximal_right"] < 50
