"""Reads config files as data, with the files that `_BASE_` names.

Detectron2 reads configs with `yaml.unsafe_load`, which runs code in them.
"""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from typing import Any

import yaml
from detectron2.utils.file_io import PathManager

from reldn_d2.model_zoo import is_config_of_detectron2
from reldn_d2.utils.yaml_files import TagError, parse_yaml

_BASE = "_BASE_"
# A key that is as similar as this is rather misspelt than at a wrong place.
_VERY_SIMILAR = 0.9
# Top-level names that every saved config in Python has; those of a config in YAML are in upper case.
_OF_PYTHON_CONFIGS = {"model", "train"}


def is_saved_python(keys: Collection[str]) -> bool:
    """Whether the top-level keys of a file are those of a config in Python, which a run has saved."""
    return set(keys) >= _OF_PYTHON_CONFIGS


@dataclass(frozen=True)
class _Reader:
    """Reads the files of one config; see `read_config_file` for its attributes."""

    unsafe_yaml: frozenset[str]
    beside_weights: frozenset[str]

    def read(self, file: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
        """The content of a file, merged into that of its bases.

        Args:
            file: path or address.
            above: the files whose `_BASE_` led here.
        """
        if _identity(file) in map(_identity, above):
            chain = " -> ".join((*above, file))
            raise ValueError(f"the _BASE_ of these files leads back to its start: {chain}. Remove one _BASE_")
        content = self._content(file)
        if _BASE not in content:
            return content
        bases = content.pop(_BASE)
        if _identity(file) in self.beside_weights:
            raise ValueError(
                f"{file} has _BASE_: {bases}, but a config beside weights names no other files. If you trust "
                f"it, give it as --config-file {file}"
            )
        merged: dict[str, Any] = {}
        for base in bases if isinstance(bases, list) else [bases]:
            if not isinstance(base, str):
                raise ValueError(f"{file}: _BASE_ is {base!r}, not the name of a file or a list of names")
            _merge(self.read(_beside(file, base), (*above, file)), merged, file)
        _merge(content, merged, file)
        return merged

    def _content(self, file: str) -> dict[str, Any]:
        exempt = _identity(file) in self.unsafe_yaml or is_config_of_detectron2(file)
        any_tag = exempt and _identity(file) not in self.beside_weights
        try:
            with PathManager.open(file, "r") as stream:
                content = parse_yaml(stream, file, any_tag=any_tag)
        except TagError as error:
            raise ValueError(self._remedy(file, error)) from error
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise _unreadable(file, " ".join(str(error).split())) from error
        if not isinstance(content, dict):
            raise _unreadable(file, f"it has no keys, but is {type(content).__name__}")
        return content

    def _remedy(self, file: str, error: TagError) -> str:
        if is_saved_python(error.keys):
            return (
                f"{error}. An earlier release saved this file from a config in Python: give that config, "
                "whose name ends in .py, as --config-file"
            )
        if _identity(file) in self.beside_weights:
            return f"{error}, or give your own config as --config-file"
        return f"{error}, or, if you have read the file and trust it, add --allow-unsafe-yaml {file}"


def read_config_file(
    config_file: str, *, unsafe_yaml: Iterable[str] = (), beside_weights: Iterable[str] = ()
) -> dict[str, Any]:
    """Reads a config file and the files that its `_BASE_` names. Nothing in them is run.

    The exceptions are the files of Detectron2's installed model zoo, one of which needs a tag that computes
    its anchors, and files in `unsafe_yaml`.

    Args:
        config_file: YAML file, or an address that Detectron2 can open.
        unsafe_yaml: files that the user has named as trusted.
        beside_weights: files that were found beside weights. They may have no `_BASE_`, and are never exempt.

    Returns:
        The keys of the files and their values. Values of a file win over those of its bases.

    Raises:
        OSError: a file does not exist or can't be read.
        ValueError: a file is not YAML, has a tag, or its `_BASE_` is refused. The message names the file.
    """
    unsafe, beside = (frozenset(map(_identity, files)) for files in (unsafe_yaml, beside_weights))
    return _Reader(unsafe, beside).read(config_file)


def similar_keys(key: str, known: Iterable[str]) -> list[str]:
    """Keys of a config that a misspelt key may mean, also one that stands at a wrong place.

    Args:
        key: full name of a key that the config does not have, in upper or lower case.
        known: full names of the config's keys.

    Returns:
        Three at most, the most similar first.
    """
    keys = list(dict.fromkeys(known))
    parts = [name.split(".") for name in keys]
    # With the nodes, since a wrong node is named without the keys in it.
    names = list(dict.fromkeys(".".join(x[:end]) for x in parts for end in range(len(x), 0, -1)))
    folded = {name.casefold(): name for name in reversed(names)}
    wanted = key.casefold()
    last = wanted.rpartition(".")[2]
    tails = get_close_matches(last, {name.rpartition(".")[2] for name in folded}, n=3, cutoff=0.8)
    elsewhere = [name for name in folded if name.rpartition(".")[2] in tails]
    elsewhere.sort(key=lambda name: -SequenceMatcher(None, wanted, name).ratio())
    in_place = get_close_matches(wanted, [key.casefold() for key in keys], n=3)
    is_near = bool(in_place) and SequenceMatcher(None, wanted, in_place[0]).ratio() >= _VERY_SIMILAR
    found = [*in_place, *elsewhere] if is_near else [*elsewhere, *in_place]
    return [folded[name] for name in dict.fromkeys(found)][:3]


def _identity(file: str) -> str:
    """The same text for all names of a file."""
    return file if "://" in file else os.path.realpath(file)


def _beside(file: str, base: str) -> str:
    """The path of a base. Relative ones are relative to the file that names them, as in Detectron2."""
    base = os.path.expanduser(base)
    return base if "://" in base else os.path.join(os.path.dirname(file), base)


def _merge(over: dict[str, Any], under: dict[str, Any], file: str, node: str = "") -> None:
    """Puts values over others, in place, as Detectron2 merges a file and its base."""
    for key, value in over.items():
        if not isinstance(value, dict) or key not in under:
            under[key] = value
        elif isinstance(under[key], dict):
            _merge(value, under[key], file, f"{node}{key}.")
        else:
            raise _unreadable(
                file, f"{node}{key} has keys here, but is the value {under[key]!r} in its _BASE_"
            )


def _unreadable(file: str, reason: str) -> ValueError:
    return ValueError(f"{file} can't be read as a config of Detectron2: {reason}")
