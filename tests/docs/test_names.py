"""Options and config keys that the pages name exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.config import CfgNode

from reldn_cli.command import Parser
from reldn_cli.commands import COMMANDS
from reldn_d2.engine import load_config
from tests.builders.tiny_models import REPOSITORY

from .blocks import FENCE, PAGES

NAMES = [str(page.relative_to(REPOSITORY)) for page in PAGES]
_CODE = re.compile(r"`([^`]*)`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_KEY = re.compile(r"\b[A-Z][A-Z_0-9]*(?:\.[A-Z][A-Z_0-9]*)+\b")
# Options of all commands, of train_net.py, of `python -m tools.benchmarks`, and of torchrun.
_OTHER_OPTIONS = {"--verbose", "--eval-only", "--only", "--quick", "--profile", "--bf16"} | {
    *("--nnodes", "--nproc-per-node", "--max-restarts", "--rdzv-conf"),
}
# A name that stands for a block of the reader.
_KEYS_OF_THE_READER = {"MODEL.ROI_RELATION_HEAD.LOSS.MY_TERM"}


@pytest.fixture(scope="module")
def options() -> set[str]:
    """The options of the commands of `reldn`."""
    known = set(_OTHER_OPTIONS)
    for command in COMMANDS.values():
        parser = Parser(command)
        command.add_arguments(parser)
        known |= set(parser._option_string_actions)
    return known


@pytest.fixture(scope="module")
def keys() -> set[str]:
    """The keys of a config and their last parts: of "A.B.C" also "B.C" and "C"."""

    def names(node: CfgNode, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        for name, value in node.items():
            yield (*before, name)
            if isinstance(value, CfgNode):
                yield from names(value, (*before, name))

    cfg = load_config("scenes/reldn.yaml")
    endings = {".".join(parts[start:]) for parts in names(cfg) for start in range(len(parts))}
    return endings | _KEYS_OF_THE_READER


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_options_in_the_text_exist(page: Path, options: set[str]) -> None:
    code = " ".join(_CODE.findall(FENCE.sub("", page.read_text())))
    assert not set(_OPTION.findall(code)) - options


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_config_keys_exist(page: Path, keys: set[str]) -> None:
    assert not set(_KEY.findall(page.read_text())) - keys
