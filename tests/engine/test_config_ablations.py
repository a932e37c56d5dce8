"""The ablation configs. Each is the mini config of OpenImages with one complete delta."""

from typing import Any

import pytest
import yaml

from tests.builders.config_files import CONFIGS, leaves, load
from tests.builders.tiny_models import REPOSITORY

HEAD = "MODEL.ROI_RELATION_HEAD."
FULL = "openimages/mini_reldn_x101_fpn.yaml"
LOSSES = ("CLASS_AGNOSTIC", "ENTITY_CLASS", "PREDICATE_CLASS")


def weights(*values: float) -> dict[str, Any]:
    return {f"{HEAD}LOSS.{name}.WEIGHT": value for name, value in zip(LOSSES, values, strict=True)}


def margins(value: float) -> dict[str, Any]:
    return {f"{HEAD}LOSS.{name}.MARGIN": value for name in LOSSES}


def modules(spatial: bool, fused: bool, skips: bool) -> dict[str, Any]:
    return {
        f"{HEAD}SEMANTIC.ENABLED": True,
        f"{HEAD}SPATIAL.ENABLED": spatial,
        f"{HEAD}VISUAL.FUSED": fused,
        f"{HEAD}VISUAL.SUBJECT_SKIP": skips,
        f"{HEAD}VISUAL.OBJECT_SKIP": skips,
    }


DELTAS = {
    "losses/L0": weights(0.0, 0.0, 0.0),
    "losses/L0+L1": weights(1.0, 0.0, 0.0),
    "losses/L0+L2": weights(0.0, 0.5, 0.0),
    "losses/L0+L3": weights(0.0, 0.0, 0.1),
    "losses/L0+L1+L2": weights(1.0, 0.5, 0.0),
    "losses/L0+L1+L3": weights(1.0, 0.0, 0.1),
    "losses/L0+L2+L3": weights(0.0, 0.5, 0.1),
    "losses/L0+L1+L2+L3": weights(1.0, 0.5, 0.1),
    # A learnable table would need training.
    "modules/sem": {**modules(False, False, False), f"{HEAD}SEMANTIC.LEARNABLE": False},
    "modules/sem+SPO": modules(False, True, False),
    "modules/sem+vis": modules(False, True, True),
    "modules/sem+vis+spt": modules(True, True, True),
    "margins/0.1": margins(0.1),
    "margins/0.2": margins(0.2),
    "margins/0.5": margins(0.5),
    "margins/1.0": margins(1.0),
}


def flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in node.items():
        key = f"{prefix}{name}"
        found |= flat(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return found


def test_every_file_is_known() -> None:
    folder = CONFIGS / "ablations"
    files = {str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.yaml")}
    assert files == DELTAS.keys()


@pytest.mark.parametrize("line", DELTAS)
def test_a_file_holds_a_complete_delta_and_nothing_else(line: str) -> None:
    content = yaml.safe_load((CONFIGS / "ablations" / f"{line}.yaml").read_text())
    assert content.pop("_BASE_") == f"../../{FULL}"
    assert content.pop("OUTPUT_DIR") == f"output/ablations/{line}"
    assert flat(content) == DELTAS[line]


@pytest.mark.parametrize("line", DELTAS)
def test_a_line_is_the_full_model_but_for_its_delta(line: str) -> None:
    found, full = leaves(load(f"ablations/{line}.yaml")), leaves(load(FULL))
    assert found.pop("OUTPUT_DIR") != full.pop("OUTPUT_DIR")
    assert found == {**full, **DELTAS[line]}


@pytest.mark.parametrize("line", ["losses/L0+L1+L2+L3", "modules/sem+vis+spt", "margins/0.2"])
def test_the_last_lines_are_the_full_model(line: str) -> None:
    full = leaves(load(FULL))
    assert DELTAS[line].items() <= full.items()


def test_every_file_is_a_line_of_the_papers_tables() -> None:
    """The names are those of the ablation's paper_results.yaml. The configs that it names exist."""
    file = REPOSITORY / "reldn_d2" / "ablation" / "paper_results.yaml"
    tables = yaml.safe_load(file.read_text())["tables"]
    lines = {(name, line.get("run")) for table in tables.values() for name, line in table["lines"].items()}
    named_by_delta = {run for name, run in lines if run is not None and run.split("/")[1] == name}
    assert named_by_delta == DELTAS.keys()
    configs = {table.get("config") for table in tables.values()}
    configs |= {line.get("config") for table in tables.values() for line in table["lines"].values()}
    assert f"configs/{FULL}" in configs
    for config in configs - {None}:
        assert (REPOSITORY / config).is_file(), config
