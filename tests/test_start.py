"""What a new process imports: the packages that take long are imported where they are used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.builders.tiny_models import REPOSITORY

# What everybody needs: RelDN registers its models and data sets in these two.
NEEDED = "import detectron2.modeling, detectron2.data"
PREDICT = """
import sys
from reldn_cli.main import main
sys.argv = ["reldn", "predict", "--weights", "scenes-tiny", *{arguments}]
try:
    main()
except SystemExit as end:
    assert not end.code
"""


def run(program: str) -> str:
    """What a program prints in a new process."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def packages(program: str) -> set[str]:
    """The packages outside Python's library that a new process has imported at the end of a program."""
    listed = "import json, sys; print(json.dumps([*sys.modules]))"
    roots = {name.partition(".")[0] for name in json.loads(run(f"{program}\n{listed}").splitlines()[-1])}
    return {name for name in roots if name not in sys.stdlib_module_names and not name.startswith("_")}


@pytest.fixture(scope="module")
def needed() -> set[str]:
    return packages(NEEDED)


def test_registering_imports_no_other_package(needed: set[str]) -> None:
    assert packages("import reldn_d2") - needed == {"reldn_d2"}


def test_imports_do_not_start_the_collector() -> None:
    """It would look through all objects several times."""
    program = """
import gc, sys
import torch
runs = []
gc.callbacks.append(lambda phase, info: runs.append(info["generation"]))
gc.collect()
del runs[:]
import reldn_d2
print(len(runs) <= 20, gc.isenabled())  # starts and ends of the few runs after it is switched on again
gc.disable()
import importlib
importlib.reload(reldn_d2)
print(gc.isenabled())
"""
    assert run(program).split() == ["True", "True", "False"]


def test_a_command_goes_on_with_the_collector_and_without_the_objects_of_its_imports() -> None:
    program = """
import gc, sys
from reldn_cli import main
import reldn_d2.cli.common as common
common.run_command = lambda *_: print(gc.isenabled(), gc.get_freeze_count() > 100_000)
words = ["compare", "--base", "a", "--input", "b"]
main.main(words)  # in a program of somebody else nothing is frozen
sys.argv = ["reldn", *words]
main.main()
"""
    assert run(program).split() == ["True", "False", "True", "True"]


def test_a_prediction_imports_only_what_it_uses(needed: set[str], tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    arguments = [
        "--input",
        str(tmp_path / "photo.png"),
        "--format",
        "json",
        "--output",
        str(tmp_path / "out"),
    ]
    found = packages(PREDICT.format(arguments=arguments)) - needed
    assert (tmp_path / "out" / "photo.json").is_file()
    # The weights of scenes-tiny are a safetensors file.
    assert found == {"reldn_d2", "reldn_cli", "safetensors"}
