"""The files in configs, by kind."""

from functools import cache
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from reldn_d2.engine import load_config
from tests.builders.tiny_models import REPOSITORY

CONFIGS = REPOSITORY / "configs"
BASE = CONFIGS / "base"
EVERY = sorted(CONFIGS.rglob("*.yaml"))
# Files of complete runs, with data. The other files are parts of runs.
RUNS = [file for file in EVERY if BASE not in file.parents]
ARCHITECTURES = [file for file in BASE.glob("*.yaml") if "rcnn" in file.stem]


def name_of(file: Path) -> str:
    return str(file.relative_to(CONFIGS))


def load(name: str | Path, *options: str) -> CfgNode:
    return load_config(str(CONFIGS / name), list(options))


def leaves(node: CfgNode, prefix: str = "") -> dict[str, Any]:
    """Values by full name."""
    found: dict[str, Any] = {}
    for name, value in node.items():
        key = f"{prefix}{name}"
        found |= leaves(value, f"{key}.") if isinstance(value, CfgNode) else {key: value}
    return found


def differences(one: str | Path, other: str | Path) -> set[str]:
    """Full names of the keys whose values differ between two files."""
    a, b = leaves(load(one)), leaves(load(other))
    return {key for key in a if a[key] != b[key]}


@cache
def data_sets() -> set[str]:
    """Names of all data sets that configs name."""
    found: set[str] = set()
    for file in RUNS:
        named = load(file).DATASETS
        found |= {*named.TRAIN, *named.TEST, *named.STATISTICS}
    return found
