"""`--import`: runs a user's module that registers data sets and parts of models. It never trains."""

import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NoReturn

import torch.multiprocessing
from detectron2.engine import TrainerBase

from reldn_d2.model_zoo import NO_PKG_RESOURCES
from reldn_d2.utils.io import digest

# Names of the modules that ran, in their order.
_imported: dict[str, None] = {}


class _TrainingRefusedError(RuntimeError):
    """An imported module tried to train."""


def imported_modules() -> tuple[str, ...]:
    """Names of the modules that `import_data_sets` ran, as in `sys.modules`."""
    return tuple(_imported)


def import_data_sets(module: str) -> None:
    """Runs a module or a .py file that registers data sets, for the option `--import`.

    It runs under another name than `__main__`, and only once in a process. Each process of a training with
    several processes has to call this. While the module runs, a training can't start.

    Args:
        module: name of a module, or path of a .py file.

    Raises:
        ValueError: the module does not exist, fails, ends the program, or starts a training. The message
            names file, line and error.
        FileNotFoundError: the file does not exist.
    """
    is_file = module.endswith(".py")
    if is_file and not Path(module).is_file():
        raise FileNotFoundError(f"--import {module}: there is no such file")
    folder = str(Path(module).resolve().parent) if is_file else os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        with _no_training():
            name = _run_file(Path(module).resolve()) if is_file else _run_module(module)
    except _TrainingRefusedError as error:
        raise ValueError(
            f"--import {module}: {_place(error, module)}: it starts a training, but what is imported should "
            'only register. Put the training under `if __name__ == "__main__":`'
        ) from error
    except (Exception, SystemExit) as error:
        place = _place(error, module)
        if place is None:  # the module was not found, so nothing ran
            raise ValueError(f"--import {module}: {error}") from error
        last_line = traceback.format_exception_only(error)[-1].strip()
        if isinstance(error, ModuleNotFoundError) and error.name == "pkg_resources":
            last_line += f". {NO_PKG_RESOURCES}"
        raise ValueError(f"--import {module}: {place}: {last_line}") from error
    _imported[name] = None


def _run_module(name: str) -> str:
    return importlib.import_module(name).__name__


def _run_file(path: Path) -> str:
    """Imports a file, unless this has been done before. Returns the name of the module.

    Its name is that by which other modules of its folder import it, so that it runs once. If another module
    has this name, it gets a name that no other module has.
    """
    for known, loaded in list(sys.modules.items()):
        if getattr(loaded, "__file__", None) == str(path):
            return known
    plain = None if path.stem in sys.modules else find_spec(path.stem)
    if plain is not None and plain.origin == str(path):
        return importlib.import_module(path.stem).__name__
    name = f"{path.stem}_{digest([str(path)])[:16]}"
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    sys.modules[name] = imported = module_from_spec(spec)
    try:
        spec.loader.exec_module(imported)
    except BaseException:
        del sys.modules[name]
        raise
    return name


@contextmanager
def _no_training() -> Iterator[None]:
    """Refuses trainers of Detectron2, also those derived from them, and its `launch` with several processes.

    `launch` itself is not replaced, because a module could keep the replacement. It starts its processes
    through `torch.multiprocessing`.
    """

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise _TrainingRefusedError

    processes: Any = torch.multiprocessing
    make_trainer, start_processes = TrainerBase.__init__, processes.start_processes
    TrainerBase.__init__ = processes.start_processes = refuse
    try:
        yield
    finally:
        TrainerBase.__init__, processes.start_processes = make_trainer, start_processes


def _place(error: BaseException, module: str) -> str | None:
    """File and line where an imported module failed; None if no line of it ran.

    If a library fails that the module calls, this is the line of the module. The file is left out if it is
    `module` itself.
    """
    if isinstance(error, SyntaxError):
        return _line(error.filename, error.lineno, module)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen ")
    ]
    if not frames:
        return None
    last = [frame for frame in frames if frame.filename == frames[0].filename][-1]
    return _line(last.filename, last.lineno, module)


def _line(file: str | None, number: int | None, module: str) -> str:
    repeats = file is not None and Path(file) == Path(module).resolve()
    return f"line {number}" if repeats else f"{file}, line {number}"
