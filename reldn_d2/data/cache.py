"""Results that take long to compute, kept on disk under the content they were computed from."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reldn_d2.utils.io import atomic_write

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """`reldn_d2` in the user's cache folder, which the environment variable XDG_CACHE_HOME names."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reldn_d2"


def digest(parts: Iterable[str | bytes | NDArray[np.generic]]) -> str:
    """SHA-256 over the parts, in hexadecimal. Other parts, or the same in another order, give another one."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            # type and shape say where an array ends and the next begins
            total.update(f"array {part.dtype.str} {part.shape} ".encode())
            total.update(np.ascontiguousarray(part).data)
        else:
            data = part.encode() if isinstance(part, str) else part
            total.update(f"text {len(data)} ".encode())
            total.update(data)
    return total.hexdigest()


def cached_array(
    kind: str, version: int, key: str, compute: Callable[[], NDArray[np.generic]]
) -> NDArray[np.generic]:
    """An array from the cache, or computed and put there.

    Several processes may ask at once: a file appears complete or not at all, and all of them would compute the same. A
    damaged file is computed again; where nothing can be written, the result is not kept, with a warning.

    Args:
        kind: folder of the cache, such as "statistics".
        version: of the code that computes; raise it when its results change.
        key: a `digest` of everything that the result depends on.
        compute: makes the array.
    """
    path = cache_folder() / kind / f"v{version}" / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            found: NDArray[np.generic] = archive["array"]
        return found
    except FileNotFoundError:
        pass
    # Not a list of them: a changed byte alone raises zlib.error, BadZipFile, NotImplementedError, RuntimeError and more.
    except Exception as error:
        logger.warning("%s of the cache cannot be read (%s) and is made again.", path, error)
    array = compute()
    try:
        with atomic_write(path) as stream:
            np.savez_compressed(stream, array=array)
    except OSError as error:
        logger.warning("%s cannot be written (%s): the next run computes it again.", path, error)
    return array
