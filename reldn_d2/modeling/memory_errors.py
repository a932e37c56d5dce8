"""Says what to change when a batch does not fit into memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_REMEDY = "make the batch, the chunk or the images (INPUT.MIN_SIZE_TEST, INPUT.MAX_SIZE_TEST) smaller"
# How PyTorch says it on a CPU, where it is no error of its own kind.
_OF_CPU = "can't allocate memory"


@contextmanager
def memory_error_names(num_images: int, chunk_size: int | None = None) -> Iterator[None]:
    """Adds the sizes of batch and chunk, and what to do, to an error about memory inside of it.

    Args:
        num_images: number of images of the batch.
        chunk_size: number of pairs that are scored at a time; None if no pair is scored here.

    Raises:
        torch.OutOfMemoryError, MemoryError, RuntimeError: as what happened inside.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        kind = _kind(error)
        if kind is None or _REMEDY in str(error):
            raise
        chunk = "" if chunk_size is None else f", with chunks of {chunk_size} pairs,"
        raise kind(
            f"a batch of {num_images} images{chunk} does not fit into memory: {_REMEDY}. The batch is "
            "TEST.IMS_PER_BATCH, or --batch-size, and the chunk MODEL.ROI_RELATION_HEAD.TEST.CHUNK_SIZE. "
            f"The error was: {error}"
        ) from error


def _kind(error: MemoryError | RuntimeError) -> type[MemoryError | RuntimeError] | None:
    """The kind of an error about memory; None for another error."""
    if isinstance(error, MemoryError):
        return MemoryError
    if isinstance(error, torch.OutOfMemoryError):
        return torch.OutOfMemoryError
    return RuntimeError if _OF_CPU in str(error) else None
