"""The parser of `reldn`: help, usage errors, and options that are the same everywhere."""

import ast
import json
import shlex
import subprocess
import sys
from argparse import Action
from pathlib import Path

import pytest

from reldn_cli import flags
from reldn_cli.command import Command, Parser
from reldn_cli.commands import COMMANDS
from reldn_cli.main import find_command, parse
from reldn_d2.modeling.acceleration import PRECISIONS
from tests.builders.commands import Captured, run_reldn, usage_error
from tests.builders.tiny_models import REPOSITORY

HEAVY = {"torch", "detectron2", "reldn_d2", "numpy", "cv2", "PIL", "yaml"}
# Runs command lines that end in the parser, and writes their statuses and all imported modules as JSON.
RUNNER = """
import json, sys
from reldn_cli.main import main

statuses = []
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as stop:
        statuses.append(stop.code)
print("\\n" + json.dumps([statuses, sorted(sys.modules)]))
"""
NEEDS_NOTHING = [["--help"], ["-h"], ["--version"], ["convert", "--help"]]
WRONG = [
    [],
    ["convert"],
    ["trian"],
    ["convert", "vdr"],
    ["train", "--config-fiel", "x.yaml"],
    ["train"],
    ["train", "--config-file"],
    ["evaluate"],
    ["predict"],
    ["predict", "--input", "a.jpg"],
    ["compare", "--base", "x"],
    ["check"],
    ["convert", "checkpoint", "--input", "x.pth"],
    ["convert", "authors-json"],
    ["convert", "vgg16"],
    ["cache-detections"],
    ["ablate"],
    ["ablate", "--table", "12"],
    ["demo", "--qiuck"],
]


def test_help_and_usage_errors_import_nothing_but_python() -> None:
    helps = [[*name.split(), "--help"] for name in COMMANDS]
    command = [sys.executable, "-c", RUNNER, json.dumps([*NEEDS_NOTHING, *helps, *WRONG])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    statuses, modules = json.loads(done.stdout.splitlines()[-1])
    assert statuses == [0] * (len(NEEDS_NOTHING) + len(helps)) + [2] * len(WRONG)
    assert "reldn_cli.main" in modules
    assert not HEAVY & {module.partition(".")[0] for module in modules}


def test_the_parser_imports_nothing_of_the_package_at_its_top() -> None:
    """`reldn_cli.main` imports the commands when it has parsed the command line."""
    for path in (REPOSITORY / "reldn_cli").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names, "reldn_cli"}, path


def command_lines(command: Command) -> list[list[str]]:
    """The words of each line of a command's example."""
    return [shlex.split(line) for line in command.example.replace("\\\n", " ").strip().splitlines()]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_that_can_be_parsed(name: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="0"):
        run_reldn(*name.split(), "--help")
    text = capsys.readouterr().out
    assert COMMANDS[name].description.strip() in text
    _, example = text.split("example:\n")
    assert [line.strip() for line in example.strip().splitlines()] == [
        line.strip() for line in COMMANDS[name].example.strip().splitlines()
    ]
    found = []
    for program, *words in command_lines(COMMANDS[name]):
        if program == "pip":
            continue
        assert program == "reldn"
        command, rest = find_command(words)
        assert parse(command, rest).command == command.name
        found.append(command.name)
    assert {*found} == {name}


def test_the_overview_lists_every_command_once(capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="0"):
        run_reldn("--help")
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert listed == list(dict.fromkeys(name.split()[0] for name in COMMANDS))
    with pytest.raises(SystemExit, match="0"):
        run_reldn("convert", "--help")
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS if name.startswith("convert "))
    assert "  train " not in text


def test_no_command_shows_the_overview_and_is_wrong_usage(capsys: Captured) -> None:
    for words in ((), ("convert",)):
        with pytest.raises(SystemExit, match="2"):
            run_reldn(*words)
        assert capsys.readouterr().out.startswith("usage: reldn ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "there is no command 'trian': did you mean train?"),
        (["cache"], "there is no command 'cache': did you mean cache-detections?"),
        (["xyz"], "there is no command 'xyz'"),
        (["convert", "vdr"], "there is no command 'convert vdr': did you mean convert vrd?"),
        (["train", "--config", "x"], "there is no option --config: did you mean --config-file?"),
        (["predict", "--inptu", "x"], "there is no option --inptu: did you mean --input?"),
        (["predict", "--input", "x"], "the following arguments are required: --weights"),
        (
            ["predict", "--input", "x", "--weights", "y", "--ouput", "z"],
            "there is no option --ouput: did you mean --output?",
        ),
        (["demo", "--xyz"], "there is no option --xyz"),
        (["train"], "give --config-file FILE, or --data FILE.yaml --recipe small"),
        (["train", "--recipe", "small"], "--recipe trains on your own data: give --data FILE.yaml"),
        (
            ["train", "--config-file", "x", "--stages", "draw"],
            "--stages chooses stages of a --recipe: leave it out",
        ),
        (
            ["cache-detections"],
            "give the detector: --weights FILE|FOLDER|NAME, or --config-file FILE MODEL.WEIGHTS FILE",
        ),
        (["train", "--config-file", "x", "--num-gpus", "0"], "argument --num-gpus: 0 is not at least 1"),
    ],
)
def test_wrong_usage_is_named_with_its_remedy(capsys: Captured, words: list[str], message: str) -> None:
    assert usage_error(capsys, *words) == message


@pytest.mark.parametrize(
    "words", [["train", "--config-file", "x.yaml"], ["evaluate", "--config-file", "x.yaml"]], ids=str
)
def test_several_machines_need_an_address(words: list[str], capsys: Captured) -> None:
    message = usage_error(capsys, *words, "--num-machines", "2")
    assert message == (
        "--num-machines needs the address of the first machine: give --dist-url tcp://HOST:PORT"
    )
    address = ["--dist-url", "tcp://a:1"]
    message = usage_error(capsys, *words, "--num-machines", "2", *address, "--machine-rank", "2")
    assert message == "--machine-rank 2 is not from 0 to 1, the last of --num-machines"
    command, rest = find_command([*words, "--num-machines", "2", *address, "--machine-rank", "1"])
    assert (parse(command, rest).num_machines, parse(command, rest).machine_rank) == (2, 1)


def options(name: str) -> dict[str, Action]:
    """Option -> argparse's action, of a command."""
    parser = Parser(COMMANDS[name])
    COMMANDS[name].add_arguments(parser)
    return {option: action for option, action in parser._option_string_actions.items() if option[:2] == "--"}


# Command -> options that take another number or kind of values there than elsewhere.
EXCEPTIONS = {
    # Each converts one thing, not several.
    "convert vrd": {"--input"},
    "convert visual-genome": {"--input"},
    "convert openimages": {"--input"},
    "convert label-studio": {"--input"},
    "convert checkpoint": {"--input"},
    "convert vgg16": {"--input"},
    "convert efficientnet-lite0": {"--input"},
    # All compared runs are of one data set, one task and one protocol.
    "compare": {"--dataset", "--protocol", "--task"},
    # Tables are written for several numbers at once; a graph is drawn for one.
    "predict": {"--predicates-per-pair"},
}


def kind(action: Action) -> tuple[object, ...]:
    """What a user has to write behind an option: how many values, and a path, a number or a text."""
    conversion = str if action.type in (None, Path) else action.type
    return type(action).__name__, action.nargs, conversion


def test_an_option_means_the_same_in_every_command() -> None:
    kinds: dict[str, dict[tuple[object, ...], list[str]]] = {}
    for name in COMMANDS:
        for option, action in options(name).items():
            if option not in EXCEPTIONS.get(name, ()):
                kinds.setdefault(option, {}).setdefault(kind(action), []).append(name)
    assert {option: found for option, found in kinds.items() if len(found) > 1} == {}
    # An exception is one.
    for name, excepted in EXCEPTIONS.items():
        for option in excepted:
            assert kind(options(name)[option]) not in kinds.get(option, {})


SHARED = (
    "--config-file",
    "--weights",
    "--data",
    "--import",
    "--device",
    "--precision",
    "--num-gpus",
    "--verbose",
)


@pytest.mark.parametrize("option", SHARED)
def test_the_help_of_a_shared_option_names_the_same_values(option: str) -> None:
    found = {options(name)[option].metavar for name in COMMANDS if option in options(name)}
    assert len(found) <= 1


def test_the_precisions_are_those_of_the_models() -> None:
    assert flags.PRECISIONS == PRECISIONS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_options_of_its_work(name: str) -> None:
    found = options(name)
    if "--config-file" in found or "--data" in found:
        assert "--import" in found  # a model or data may need modules of the user
    assert "--output" in found
    assert all(action.help for action in found.values())


def test_the_start_of_an_option_is_not_an_option(capsys: Captured) -> None:
    message = usage_error(capsys, "check", "--data", "x.yaml", "--image", "skip")
    assert message == "there is no option --image: did you mean --images?"


def test_usage_errors_show_strange_words_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    message = usage_error(capsys, "check", "--dataset", "a", "--\x1b[2J\u202e컵")
    assert r"--\x1b[2J\u202e컵" in message
