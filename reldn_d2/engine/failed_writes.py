"""What a training says when the system stops it: the file, the cause, and the last complete checkpoint."""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.utils.plain_text import say
from reldn_d2.utils.system_errors import explained, extended, is_explained, is_of_the_system

# Errors that can only come from writing.
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


@contextmanager
def explaining_failed_writes(checkpointer: RelationCheckpointer) -> Iterator[None]:
    """Explains errors of the system in the block, such as a full disk.

    Args:
        checkpointer: checkpointer of the run.

    Raises:
        OSError: the error of the block, with the last complete checkpoint. Where the error names no file, as
            those of Detectron2's writers of metrics, it names the output folder.
    """
    before, threading.excepthook = threading.excepthook, _say_in_thread
    refused = False
    try:
        yield
    except OSError as error:
        found = _first_explained(error)
        if found.errno is None:  # of a reader, which has said what is wrong
            raise
        refused = True
        if not is_explained(found):
            named = found.filename is not None
            path = found.filename if named else checkpointer.save_dir
            found = explained(found, path, "used" if named else "written")
        raise extended(found, _what_is_left(checkpointer)) from error
    finally:
        if not refused:
            threading.excepthook = before


def _say_in_thread(args: threading.ExceptHookArgs) -> None:
    """Says in one line what stopped the thread that writes TensorBoard's events.

    The thread may live longer than a training that the system stopped, so this stays in place then.
    """
    if isinstance(args.exc_value, OSError) and is_of_the_system(args.exc_value):
        say(f"WARNING: TensorBoard's events are not complete ({args.exc_value.strerror})", error=True)
    else:
        threading.__excepthook__(args)


def _first_explained(error: OSError) -> OSError:
    """The error that came first: when a training ends, Detectron2 writes once more and fails once more."""
    context: BaseException | None = error
    while context is not None:
        if isinstance(context, OSError) and is_explained(context):
            return context
        context = context.__context__
    return error


def _what_is_left(checkpointer: RelationCheckpointer) -> str:
    if not checkpointer.has_checkpoint() or not Path(checkpointer.get_checkpoint_file()).is_file():
        return "No checkpoint was saved yet"
    return f"The last checkpoint, {checkpointer.get_checkpoint_file()}, is complete: --resume goes on from it"
