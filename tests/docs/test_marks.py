"""Every command block of the documentation says how it is checked, and its commands are well-formed."""

import re
from pathlib import Path

import pytest

from reldn_cli.main import find_command, parse
from reldn_d2.model_zoo import find_config
from tests.builders.tiny_models import REPOSITORY

from .blocks import Block, blocks

BLOCKS = blocks()
COMMANDS = [block for block in BLOCKS if block.language in ("bash", "python")]
# Names that stand for a file of the reader.
_OF_THE_READER = re.compile(r"my_\w+\.(yaml|py)")


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_a_command_block_says_how_it_is_checked(block: Block) -> None:
    # A module that the commands of its page import.
    if block.language == "python" and block.kind == "file":
        assert any(block.detail in other.text for other in COMMANDS if other.page == block.page)
        return
    assert block.kind in ("run", "long", "needs"), (
        "put <!-- run: WORKSPACE -->, <!-- long: DATE --> or <!-- needs: DATA --> above"
    )
    assert block.detail
    if block.kind == "long":
        assert re.match(r"2\d{3}-\d\d-\d\d", block.detail), "the date of the last run"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block not in COMMANDS], ids=str)
def test_other_blocks_hold_no_command(block: Block) -> None:
    assert not re.search(r"^ *(reldn|python|make|pip|import|from) ", block.text, re.MULTILINE)


@pytest.mark.parametrize("block", [block for block in COMMANDS if block.language == "bash"], ids=str)
def test_the_commands_parse_and_their_configs_exist(block: Block) -> None:
    for name, *words in block.commands():
        if name != "reldn":
            continue
        command, rest = find_command(words)
        args = parse(command, rest)
        config = getattr(args, "config_file", None)
        if config and not _OF_THE_READER.fullmatch(config):
            assert find_config(config).is_file()


@pytest.mark.parametrize(
    "block", [block for block in COMMANDS if block.kind == "run" and block.detail.endswith(".py")], ids=str
)
def test_a_test_file_that_a_mark_names_knows_the_page_or_the_command(block: Block) -> None:
    text = (REPOSITORY / block.detail).read_text()
    assert block.page in text or all(Path(script).name in text for _, script, *_ in block.commands())


def test_no_page_names_an_old_command() -> None:
    old = re.compile(
        r"tools/(demo|ablate|predict|evaluate|check_dataset|compare_runs|cache_detections|convert_\w+)\b|prepare_\w+\.py"
    )
    for block in BLOCKS:
        assert not old.search(block.text), block
