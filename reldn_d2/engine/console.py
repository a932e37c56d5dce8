"""What a command shows on the screen, and what only goes to the log file of a run.

The screen shows what a person reads. The log file of a run has everything: also configs, the model, the
environment, complete tables, and the harmless warnings that `HARMLESS_WARNINGS` lists.
"""

import logging
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TextIO

from detectron2.utils import comm

from reldn_d2.utils.plain_text import in_encoding, say, visible, visible_lines
from reldn_d2.utils.system_errors import describe

LOGGERS = ("reldn_d2", "detectron2", "fvcore")
LOG_FILE = "log.txt"
# Loggers of what Python and PyTorch warn of.
_WARNINGS, _TORCH = "py.warnings", "torch"


@dataclass(frozen=True)
class Message:
    """A message of a logger, known by its beginning.

    Attributes:
        logger: name of the logger.
        beginning: how the message begins; for warnings of Python, how the text of the warning begins.
        reason: why the screen does not show it.
    """

    logger: str
    beginning: str
    reason: str


# Warnings of other packages that say nothing about the user's run. All others stay visible.
HARMLESS_WARNINGS = (
    Message(
        _WARNINGS,
        "torch.meshgrid: in an upcoming release",
        "Detectron2 makes its anchors with the default order, which it wants and PyTorch still has.",
    ),
    Message(
        _WARNINGS,
        "`torch.jit.script` is deprecated",
        "fvcore compiles losses that RelDN does not use; they still work.",
    ),
    Message(
        _WARNINGS,
        "pkg_resources is deprecated as an API",
        "Detectron2 finds its config files with it; it works as long as it can be imported.",
    ),
    Message(
        _WARNINGS,
        "`broadcast_buffers` is deprecated",
        "Detectron2's way to leave buffers alone; PyTorch advises to keep it for this purpose.",
    ),
    Message(
        _WARNINGS,
        "Grad strides do not match bucket view strides",
        "PyTorch copies the gradients of depthwise convolutions once more; they are the same numbers.",
    ),
    Message(
        _WARNINGS,
        "Importing from timm.models.layers is deprecated",
        "Detectron2's ViT imports layers under their old name, which timm still has.",
    ),
    Message(
        _WARNINGS,
        "Image size (",
        "Pillow warns from half of what it opens on; the bound of `data.images.pixel_limit` counts.",
    ),
    Message(
        "torch.utils.cpp_extension",
        "No CUDA runtime is found",
        "Detectron2's table of the environment looks for CUDA, also on machines without a GPU.",
    ),
    Message(
        "torch.fx._symbolic_trace",
        "is_fx_tracing will return true",
        "fvcore asks whether it is traced; it is not, under either meaning.",
    ),
)
# Messages for the log file only. The first and the last lines of a run say the same in a few words.
FOR_THE_FILE = (
    Message("detectron2.engine.defaults", "Model:", "the whole model"),
    Message("reldn_d2.engine.lazy", "Model:", "the whole model"),
    Message("detectron2.data.common", "", "how the list of images is kept in memory"),
    Message("detectron2.data.build", "Removed", "the first lines say what is trained on"),
    Message("reldn_d2.data.filters", "Training relationships of", "the first lines say what is trained on"),
    Message("detectron2.data.build", "Using training sampler", "part of the config"),
    Message("detectron2.data.build", "Making batched data loader", "part of the config"),
    Message("detectron2.data.build", "Distribution of instances", "a table of all classes"),
    Message("detectron2.data.datasets.coco", "", "the copy of the annotation for box AP"),
    Message("detectron2.evaluation.coco_evaluation", "", "box AP; the summary has its numbers"),
    Message("detectron2.checkpoint.detection_checkpoint", "[DetectionCheckpointer] Loading", "said first"),
    Message("fvcore.common.checkpoint", "[Checkpointer] Loading", "said first"),
    Message("fvcore.common.checkpoint", "No checkpoint found", "said first"),
    Message("fvcore.common.checkpoint", "Loading trainer from", "said first"),
    Message(
        "fvcore.common.checkpoint",
        "Some model parameters or buffers are not found",
        "new layers of this stage; our checkpointer refuses a checkpoint that lacks others",
    ),
    Message("fvcore.common.checkpoint", "Saving checkpoint to", "the last lines say where they lie"),
    Message("detectron2.engine.train_loop", "Starting training", "said first"),
    Message("detectron2.engine.train_loop", "Exception during training", "the error itself follows"),
    Message("detectron2.engine.hooks", "Total training time", "said last"),
    Message("detectron2.engine.hooks", "Loading scheduler from", "part of resuming"),
    Message("reldn_d2.data.mapper", "Augmentations used", "part of the config"),
    Message("reldn_d2.modeling.start_from_detector", "", "which tensors were copied"),
    Message("detectron2.evaluation.evaluator", "Start inference", "progress follows"),
    Message("detectron2.evaluation.evaluator", "Total inference", "the last line of progress says it"),
    Message("detectron2.evaluation.testing", "copypaste:", "every number, for a spreadsheet"),
)
# Its tables are for commands; the last lines of a run are a summary instead.
_SCORER = "reldn_d2.evaluation.scorer"


def as_block(lines: Mapping[str, str]) -> str:
    """Lines of a name and a text each, the texts below each other. Lines without text are left out."""
    width = max(map(len, lines), default=0)
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in lines.items() if text)


def _is_one_of(record: logging.LogRecord, messages: tuple[Message, ...]) -> bool:
    text = record.getMessage()
    if record.name == _WARNINGS:  # "file:line: Category: text"
        return any(x.logger == _WARNINGS and f"Warning: {x.beginning}" in text for x in messages)
    return any(record.name == x.logger and text.startswith(x.beginning) for x in messages)


def is_no_harmless_warning(record: logging.LogRecord) -> bool:
    """Whether a record is none of `HARMLESS_WARNINGS`: a filter for handlers of `logging`."""
    return not _is_one_of(record, HARMLESS_WARNINGS)


def is_for_the_screen(record: logging.LogRecord) -> bool:
    """Whether the screen shows a record: a filter for handlers of `logging`."""
    return (
        record.levelno >= logging.INFO
        and is_no_harmless_warning(record)
        and not _is_one_of(record, FOR_THE_FILE)
    )


def _is_no_table(record: logging.LogRecord) -> bool:
    return record.name != _SCORER or record.levelno > logging.INFO


def setup_console() -> None:
    """Shows messages and warnings on the screen, but for those that only fill it.

    For commands without an output folder; `setup` calls it for runs. Only the main process shows anything. A
    second call changes nothing, but in a process that has become another one than the main process meanwhile.
    """
    logging.captureWarnings(True)
    screen, early = _Screen(), _Early()
    for logger in map(logging.getLogger, (*LOGGERS, _WARNINGS)):
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        present = {type(handler) for handler in logger.handlers}
        if _Early not in present:
            logger.addHandler(early)
        if not comm.is_main_process():
            for shown in [handler for handler in logger.handlers if isinstance(handler, _Screen)]:
                logger.removeHandler(shown)
        elif _Screen not in present:
            logger.addHandler(screen)
    for handler in logging.getLogger(_TORCH).handlers:
        if not isinstance(handler, _LogFile):
            handler.addFilter(is_no_harmless_warning)


class _Formatter(logging.Formatter):
    """Writes what cannot be seen as escapes: a message may hold names from files of other people."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record: of one line, unless the message that this or another package wrote has more.

        So a name with line feeds can't make lines that look like other records.
        """
        text = super().format(record)
        several = "\n" in str(record.msg) or record.exc_info or record.stack_info or record.name == _WARNINGS
        return visible_lines(text) if several else visible(text)


class _Screen(logging.StreamHandler[TextIO]):
    """What a person reads: the time, whether it is a warning, and the message."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)
        self.addFilter(is_for_the_screen)
        self.setFormatter(_Formatter("[%(asctime)s] %(message)s", datefmt="%H:%M:%S"))

    def format(self, record: logging.LogRecord) -> str:
        """Names the level of a message if it is more than information."""
        time, _, message = super().format(record).partition(" ")
        level = f"{record.levelname}: " if record.levelno > logging.INFO else ""
        return in_encoding(f"{time} {level}{message}", getattr(self.stream, "encoding", None))


class _Early(logging.Handler):
    """Keeps the first messages of a process until there is a log file: reading a config may warn."""

    def __init__(self) -> None:
        super().__init__()
        self._records: deque[logging.LogRecord] = deque(maxlen=1000)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a record."""
        self._records.append(record)

    def write_to(self, handler: logging.Handler) -> None:
        """Gives all records to another handler, once."""
        while self._records:
            handler.handle(self._records.popleft())


class _LogFile(logging.FileHandler):
    """The log file of a run. If it can't be written, this is said once, and the run goes on without it."""

    _failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Says what the system said, where logging would print a traceback for each record."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._failed:
            self._failed = True
            say(f"WARNING: {describe(error, self.baseFilename, 'written')}", error=True)


def setup_run_log(output_dir: str) -> None:
    """Shows what `setup_console` shows, without tables of evaluations, and writes everything to a log file.

    The file is log.txt in the output folder, and log.txt.rank1 and so on for further processes. A run that
    starts later in the same process ends the log file of the earlier one.

    Args:
        output_dir: output folder of the run, made if missing.
    """
    setup_console()
    rank = comm.get_rank()
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    name = f"{LOG_FILE}.rank{rank}" if rank else LOG_FILE
    file = _LogFile(Path(output_dir, name), encoding="utf-8")
    # As Detectron2 writes its log files.
    file.setFormatter(
        _Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", datefmt="%m/%d %H:%M:%S")
    )
    for logger in map(logging.getLogger, (*LOGGERS, _WARNINGS, _TORCH)):
        for handler in list(logger.handlers):
            if isinstance(handler, _Early):
                handler.write_to(file)
                logger.removeHandler(handler)
            elif isinstance(handler, _LogFile):
                logger.removeHandler(handler)
                handler.close()
            elif isinstance(handler, _Screen):
                handler.addFilter(_is_no_table)
        logger.addHandler(file)


@contextmanager
def printed_to_log(logger: logging.Logger) -> Iterator[None]:
    """Logs what is printed in the block, for the log file only. pycocotools prints its progress."""
    printed = StringIO()
    with redirect_stdout(printed):
        yield
    if printed.getvalue():
        logger.debug("Printed:\n%s", printed.getvalue())
