"""The commands of `reldn`, in the order of the help."""

from ..command import Command
from . import ablate, cache_detections, check, compare, convert, demo, evaluate, predict, train

_ALL = [
    train.COMMAND,
    evaluate.COMMAND,
    predict.COMMAND,
    compare.COMMAND,
    check.COMMAND,
    *convert.COMMANDS,
    cache_detections.COMMAND,
    ablate.COMMAND,
    demo.COMMAND,
]
COMMANDS: dict[str, Command] = {command.name: command for command in _ALL}
#: First word of commands with two words -> the line that stands for all of them in the list of commands.
GROUPS = {"convert": "convert data sets and weights of other projects"}
