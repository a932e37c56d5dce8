"""Finds config files by name."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

import detectron2
from detectron2.utils.file_io import PathManager

#: What a missing `pkg_resources` means. `detectron2.model_zoo` imports it.
NO_PKG_RESOURCES = "setuptools 82 or newer does not have pkg_resources: run `pip install 'setuptools<81'`"
# The folder of all configs.
CONFIGS = (Path(__file__).parent / "configs").resolve()
# Detectron2's own `detectron2.model_zoo.get_config_file` needs pkg_resources.
_CONFIGS_OF_DETECTRON2 = Path(detectron2.__file__).parent / "model_zoo" / "configs"
# Folders of files that are parts of configs.
_PARTS = {"base", "common", "models"}
_SUFFIXES = {".yaml", ".py"}


def config_names() -> list[str]:
    """Names of the configs of complete runs, such as "vg/reldn_vgg16.yaml", in alphabetical order."""
    return [name for name in _names_in(CONFIGS) if _PARTS.isdisjoint(Path(name).parts)]


def get_config_file(name: str) -> str:
    """Path of a config of this package.

    Args:
        name: path below `configs`, such as "vg/reldn_vgg16.yaml" or "lazy/scenes_reldn.py".

    Raises:
        FileNotFoundError: there is no such config. The message shows similar names.
    """
    file = CONFIGS / name
    if not file.is_file():
        raise FileNotFoundError(f"reldn_d2 has no config {name!r}{_did_you_mean(name, config_names())}")
    return str(file)


def find_config(config_file: str) -> Path:
    """Finds the config that a user names on a command line.

    Args:
        config_file: path of a file; otherwise name of a config of this package, with or without "configs/" in
            front; or an address that Detectron2 can download, such as "https://...".

    Returns:
        The path as given if it is a file, otherwise that of the package's config or of the downloaded file.

    Raises:
        FileNotFoundError: neither exists. The message shows similar names.
    """
    if not config_file:
        raise FileNotFoundError("no config is named: give one as --config-file")
    if "://" in config_file:
        return Path(PathManager.get_local_path(config_file))
    path, name = Path(config_file), config_file.removeprefix("configs/")
    for candidate in (path, CONFIGS / name):
        if candidate.is_file():
            return candidate
    beside = [str(file) for file in path.parent.glob("*") if file.suffix in _SUFFIXES]
    raise FileNotFoundError(
        f"config file {config_file!r} does not exist, and reldn_d2 has no config of this name: correct "
        f"--config-file{_did_you_mean(name, [*beside, *config_names()])}"
    )


def get_detectron2_config_file(name: str) -> str:
    """Path of a config of Detectron2's model zoo, found without pkg_resources.

    Args:
        name: path below Detectron2's `configs`, such as "common/train.py".

    Raises:
        FileNotFoundError: there is no such config. The message shows similar names.
    """
    file = _CONFIGS_OF_DETECTRON2 / name
    if not file.is_file():
        similar = _did_you_mean(name, _names_in(_CONFIGS_OF_DETECTRON2))
        raise FileNotFoundError(f"{_CONFIGS_OF_DETECTRON2} has no config {name!r}{similar}")
    return str(file)


def is_config_of_detectron2(file: str) -> bool:
    """Whether a file really lies in the model zoo of the installed Detectron2, links resolved."""
    return Path(file).resolve().is_relative_to(_CONFIGS_OF_DETECTRON2.resolve())


def _names_in(folder: Path) -> list[str]:
    files = (file for file in folder.rglob("*") if file.suffix in _SUFFIXES)
    return sorted(file.relative_to(folder).as_posix() for file in files)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=3)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
