"""Checks the values and the names in a config in Python, before any part of it is made."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from inspect import Parameter, isclass, signature
from typing import Any

from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from reldn_d2.config_values import PICTURE_CHANNELS, check_channels, check_keys, find_setting, refusal

from .protocols import check_protocol_names, protocols_of_task

_TARGET = "_target_"
# Packages whose arguments the table knows.
_KNOWN_PACKAGES = ("reldn_d2", "detectron2")
# Keys that a run reads. A key that is very similar to one of them is misspelt.
_READ = {
    "train": (
        *("output_dir", "init_checkpoint", "relation_checkpoint", "device", "max_iter", "amp", "ddp"),
        *("checkpointer", "eval_period", "log_period", "seed", "precision", "best_checkpoint"),
        *("skip_unreadable", "cudnn_benchmark"),
    ),
    "datasets": ("train", "test", "statistics", "train_detections", "test_detections"),
}
_VERY_SIMILAR = 0.85


def check_python_values(cfg: DictConfig, source: str = "") -> None:
    """Checks the keys of a config and the arguments of its parts.

    Args:
        cfg: the config. References that lead nowhere are left out: a part that is never made may have some.
        source: what the config is of, such as "reldn.py: ", at the beginning of a message.

    Raises:
        ValueError: a value is not possible (`SETTINGS`), a part has an argument that its class or function
            does not take, a key of `train` or `datasets` is misspelt, a protocol is unknown, or the
            pictures of a mapper have other channels than the model normalises.
    """
    config = _resolved(cfg)
    for node, known in _READ.items():
        for key in config.get(node, {}):
            near = get_close_matches(str(key), known, n=1, cutoff=_VERY_SIMILAR)
            if near and key not in known:
                raise ValueError(
                    f"{source}{node}.{key} is a key that no run reads: did you mean {node}.{near[0]}? If it "
                    "is a key of your own, give it another name"
                )
    check_keys(_leaves(config), source)
    for path, part in _parts(config):
        _check_part(path, part, source)
        _check_channels(path, part, config.get("model"), source)


def _resolved(node: Any) -> Any:
    """The content of a node as dicts and lists."""
    if not isinstance(node, DictConfig | ListConfig):
        return node
    found: dict[Any, Any] = {}
    container: Any = node  # the two kinds have keys of other types
    for key in node if isinstance(node, DictConfig) else range(len(node)):
        with suppress(OmegaConfBaseException):
            found[key] = _resolved(container[key])
    return found if isinstance(node, DictConfig) else [*found.values()]


def _leaves(config: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _parts(value: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All nodes that name a class or function, and their full names."""
    if isinstance(value, Mapping):
        if _TARGET in value:
            yield path, value
        for key, inner in value.items():
            yield from _parts(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _parts(inner, f"{path}.{place}")


def _check_part(path: str, part: Mapping[str, Any], source: str) -> None:
    target = part[_TARGET]
    try:
        owner = locate(target) if isinstance(target, str) else target
    except ImportError:  # an error if the part is made
        return
    if "cfg" in part:  # Detectron2's `configurable` takes a config in place of arguments
        return
    names, taken = _names(owner), _arguments(owner)
    for argument, value in part.items():
        if argument == _TARGET:
            continue
        if taken is not None and argument not in taken:
            near = get_close_matches(str(argument), taken, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it takes {', '.join(sorted(taken))}"
            raise ValueError(f"{source}{path}: {owner.__name__} takes no argument {argument!r}: {hint}")
        is_part = isinstance(value, Mapping) and _TARGET in value
        setting = next(filter(None, (find_setting(f"{name}.{argument}") for name in names)), None)
        if setting is not None and not is_part and not setting.values.holds(value):
            raise ValueError(f"{source}{refusal(f'{path}.{argument}', value, setting.values)}")
    if owner is protocols_of_task:
        check_protocol_names(part.get("names", ()), f"{source}{path}.names")


def _check_channels(path: str, part: Mapping[str, Any], model: Any, source: str) -> None:
    """Compares the format of a mapper's pictures with the numbers that the model normalises them with."""
    if not path.startswith("dataloader.") or not isinstance(model, Mapping):
        return
    image_format, mean, std = part.get("image_format"), model.get("pixel_mean"), model.get("pixel_std")
    is_known = isinstance(image_format, str) and image_format in PICTURE_CHANNELS
    if is_known and isinstance(mean, list | tuple) and isinstance(std, list | tuple):
        try:
            names = (f"{path}.image_format", "model.pixel_mean", "model.pixel_std")
            check_channels(str(image_format), mean, std, names)
        except ValueError as error:
            raise ValueError(f"{source}{error}") from error


@cache
def _names(owner: Any) -> list[str]:
    """The names that the table may have for a class or function. A class has the arguments of its bases."""
    owners = owner.__mro__ if isclass(owner) else (owner,)
    return [x.__name__ for x in owners if x.__module__.partition(".")[0] in _KNOWN_PACKAGES]


@cache
def _arguments(owner: Any) -> set[str] | None:
    """The arguments that a class or function takes; None if it takes any, or does not say."""
    functions = [owner]
    if isclass(owner):
        own = [vars(x) for x in owner.__mro__[:-1]]
        if any("__new__" in x for x in own):
            return None
        functions = [x["__init__"] for x in own if "__init__" in x]
    taken: set[str] = set()
    for function in functions:
        try:
            parameters = signature(function).parameters.values()
        except (TypeError, ValueError):
            return None
        taken |= {x.name for x in parameters}
        if not any(x.kind is Parameter.VAR_KEYWORD for x in parameters):
            return taken
    return None
