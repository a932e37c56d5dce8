"""The parts of the package import each other in one direction only."""

import ast
from pathlib import Path

import pytest

from tests.builders.tiny_models import REPOSITORY

PACKAGE = REPOSITORY / "reldn_d2"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Part of the package -> the parts that it may import from.
ALLOWED = {
    "utils": set(),
    "config": set(),
    "structures": set(),
    "data": {"structures", "utils"},
    "modeling": {"structures"},
    "evaluation": {"structures", "utils"},
    "checkpoint": {"structures", "data", "modeling", "evaluation", "utils"},
    "visualization": {"structures", "data", "modeling", "evaluation", "utils"},
    "engine": {
        "structures",
        "data",
        "modeling",
        "evaluation",
        "checkpoint",
        "visualization",
        "config",
        "utils",
    },
    "__init__": {"config", "data", "modeling"},
}


def imported_rooms(path: Path) -> set[str]:
    """Parts of the package that a module imports from, by absolute or relative name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) - node.level]) if node.level else ""
            base = ".".join(filter(None, [base, node.module]))
            names = [base] if base != PACKAGE.name else [f"{base}.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith(f"{PACKAGE.name}.")}
    return rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert imported_rooms(path) - {room} <= ALLOWED[room]


@pytest.mark.parametrize("path", [p for p in MODULES if "modeling" in p.parts], ids=lambda path: path.name)
def test_modeling_knows_no_catalog(path: Path) -> None:
    assert "Catalog" not in path.read_text()


def test_train_net_stays_thin() -> None:
    assert len((REPOSITORY / "train_net.py").read_text().splitlines()) < 80
