"""Reads weight files from untrusted sources without running code in them.

Nearly all weight files are pickles, and a pickle can run any code. So PyTorch's files are read with
`weights_only`, and those of Detectron2's model zoo by an unpickler that only knows the parts of NumPy arrays
(`array_pickles`).
"""

import pickle
import string
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.serialization import MAGIC_NUMBER

from reldn_d2.utils.system_errors import explained, is_of_the_system

from .array_pickles import ArrayUnpickler, scalar_called, type_for_torch, with_arrays

# Optimizers save learning rates and counts as numbers of NumPy.
_NUMPY_NUMBERS: list[Any] = [
    scalar_called("numpy.core.multiarray"),
    scalar_called("numpy._core.multiarray"),
    type_for_torch(),
]


def read_pickle(path: Path) -> Any:
    """Reads a pickle of NumPy arrays, containers, strings and numbers.

    Args:
        path: file that Python 2 or 3 wrote, with any version of NumPy.

    Raises:
        OSError: the file does not exist, or the system does not let this user read it.
        ValueError: the file is of another kind, is cut off, or asks for anything else. The message names it.
    """
    try:
        with path.open("rb") as file:
            # The encoding for strings of Python 2 and for the bytes of its arrays.
            content = with_arrays(ArrayUnpickler(file, encoding="latin1").load())
            if file.read(1):
                raise pickle.UnpicklingError("something follows the pickle")
            return content
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # a broken pickle may fail with anything
        raise _unreadable(path, error) from error


def read_torch(path: Path, *, mmap: bool = False) -> Any:
    """Reads a file of `torch.save`, in its present format or in that of PyTorch 0.4.

    Args:
        path: file of tensors, containers, strings, and numbers of Python and NumPy.
        mmap: whether to read tensors only when they are first used. Only for the present format.

    Raises:
        OSError: the file does not exist, or the system does not let this user read it.
        ValueError: the file is of another kind, is cut off, or contains anything else. The message names it.
    """
    try:
        _refuse_programs(path)
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # as in read_pickle
        raise _unreadable(path, error) from error


def _refuse_programs(path: Path) -> None:
    """Refuses two kinds of files that PyTorch 2.5 reads in other ways, whatever `weights_only` says."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise pickle.UnpicklingError("it is a TorchScript program")
    elif tarfile.is_tarfile(path):
        raise pickle.UnpicklingError("it is a tar archive, as PyTorch 0.1 wrote")


def last_checkpoint_in(folder: Path) -> Path | None:
    """The checkpoint that the file `last_checkpoint` of a run's folder names; None if there is no such file.

    Raises:
        FileNotFoundError: it names a file that the folder does not have.
        ValueError: it names something else than a file of the same folder.
    """
    tag = folder / "last_checkpoint"
    if not tag.is_file():
        return None
    name = tag.read_bytes().decode("utf-8", errors="replace").strip()
    there = sorted(path.name for path in folder.glob("*.pth"))
    remedy = (
        f"write the name of a checkpoint in it, such as {there[-1]}" if there else "delete it to start anew"
    )
    if name in ("", "..") or name != Path(name).name or "\\" in name or not name.isprintable():
        raise ValueError(f"{tag} names {name!r}, which is no file of this folder: {remedy}")
    if not (folder / name).is_file():
        raise FileNotFoundError(f"{tag} names {name!r}, but {folder} has no such file: {remedy}")
    return folder / name


def _unreadable(path: Path, error: Exception) -> OSError | ValueError:
    if path.is_dir():
        return ValueError(f"{path} can't be read as weights: it is a folder. Name the checkpoint in it")
    if isinstance(error, OSError) and is_of_the_system(error):
        return explained(error, path)
    return ValueError(
        f"{path} can't be read as weights: {looks_like(path)} ({_reason(error)}). It must be a complete "
        "file of torch.save (.pth, .pt, .pyth) or of Detectron2's model zoo (.pkl) that contains only "
        "arrays, numbers and text; nothing else is loaded, because a pickle can run any code. Download it "
        "again, or use a file from a source that you trust"
    )


def _reason(error: Exception) -> str:
    """The reason why a file could not be read, without PyTorch's advice to load it anyway."""
    if isinstance(error, pickle.UnpicklingError) and error.__context__ is not None:
        return _first_sentence(error.__context__)
    return _first_sentence(error)


def _first_sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].partition(". ")[0]


def looks_like(path: Path) -> str:
    """Says what a file is, judged by its first bytes: "it is an HTML page", for example."""
    with path.open("rb") as file:
        start = file.read(200)
    if not start:
        return "it is empty"
    if start.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except Exception:  # a broken archive may fail with anything
            return "it is a zip archive that is cut off or broken"
        is_torch = any(name.endswith("/data.pkl") for name in names)
        return f"it is a {'file of torch.save' if is_torch else 'zip archive of something else'}"
    if start.startswith(b"\x80"):
        # The format of PyTorch 0.4 begins with a pickle of only this number.
        is_torch = MAGIC_NUMBER.to_bytes(10, "little") in start
        return f"it is {'a file of torch.save of the old format' if is_torch else 'a pickle'}"
    # A file of safetensors begins with the length of its header, which is JSON.
    if start[8:9] == b"{" and start[:1] != b"{" and int.from_bytes(start[:8], "little") < 2**32:
        return "it begins as a file of safetensors"
    text = start.decode("utf-8", errors="ignore")
    if text.lstrip().lower().startswith(("<!doctype html", "<html")):
        return "it is an HTML page, which a server may send instead of a file"
    if all(character.isprintable() or character in string.whitespace for character in text):
        return (
            f"it is text that begins {text.strip().splitlines()[0][:60]!r}" if text.strip() else "it is blank"
        )
    return f"it begins with the bytes {start[:8].hex(' ')}, which is no known format of weights"
