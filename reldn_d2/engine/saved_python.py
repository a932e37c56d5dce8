"""Configs in Python as data: what a run saves of its config, and how this is read again.

Only data is written. A class or function is written as its name, under a key that says what it is:

    _target_: reldn_d2.modeling.RelDN            what `instantiate` calls, as in the config itself
    {_name_: torch.nn.BatchNorm2d}               a class or function as a value
    {_partial_: torch.nn.LayerNorm, eps: 1e-6}   functools.partial; `_args_` has arguments without a name
    {_dataclass_: detectron2.layers.ShapeSpec, channels: 64}
    {_tuple_: [1, 2]}                            a tuple among the arguments of a partial
    {_not_saved_: function <lambda>}             what has no name; an error says so when it is needed

References to other keys, such as ${train.max_iter}, stay as they are. When a saved config is read, names are
looked up among the parts of models and loaders that `part_names` knows, before anything is made. Fewer parts
may be values and partials, because other code calls those.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig, OmegaConf, SCMode
from omegaconf.errors import OmegaConfBaseException

from .part_names import find_part, known_parts, may_be_handed_on, name_of_part

_TARGET, _NAME, _PARTIAL, _ARGS = "_target_", "_name_", "_partial_", "_args_"
_DATACLASS, _TUPLE, _NOT_SAVED = "_dataclass_", "_tuple_", "_not_saved_"
_MARKS = (_NAME, _PARTIAL, _DATACLASS, _TUPLE, _NOT_SAVED)
_REFERENCE = re.compile(r"\$\{\.*\w+(\.\w+|\[\w+\])*\}")
_LAST = "${reldn_d2.last:}"  # of a list; the only function that a saved config may call in a text


class NotSaved:
    """Stands in a loaded config for a value that could not be saved.

    Attributes:
        what: the value in words.
    """

    __slots__ = ("__name__", "what")

    def __init__(self, what: str) -> None:
        """Keeps the description."""
        self.what = self.__name__ = what

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Refuses to be called.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"the saved config does not contain {self.what}: {_REMEDY}")


_REMEDY = "give the config itself, whose name ends in .py, as --config-file"


def refuse_not_saved(plain: Any, key: str) -> None:
    """Checks that everything in a part of a config was saved.

    Args:
        plain: the part as dicts and lists, with all references resolved.
        key: its full name, for the message.

    Raises:
        ValueError: something was not. The message names its key.
    """
    if isinstance(plain, NotSaved):
        raise ValueError(f"{key} is {plain.what}, which could not be saved with the config: {_REMEDY}")
    if isinstance(plain, Mapping):
        for name, value in plain.items():
            refuse_not_saved(value, f"{key}.{name}")
    elif isinstance(plain, list | tuple):
        for place, value in enumerate(plain):
            refuse_not_saved(value, f"{key}.{place}")


# --- writing


def to_data(cfg: DictConfig) -> dict[str, Any]:
    """The config as dicts, lists, texts and numbers, see the module's docstring."""
    content: dict[str, Any] = _data(cfg)
    return content


def _data(value: Any) -> Any:
    if OmegaConf.is_config(value):
        kind = OmegaConf.get_type(value)
        plain = OmegaConf.to_container(value, resolve=False, structured_config_mode=SCMode.DICT_CONFIG)
        if isinstance(plain, DictConfig):  # made of a dataclass
            plain = OmegaConf.to_container(value, resolve=False, structured_config_mode=SCMode.DICT)
            return _of_dataclass(kind, plain) if isinstance(plain, dict) else _data(plain)
        return _data(plain)
    if isinstance(value, str):
        return str(value) if _only_refers(value) else _not_saved(value)
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, dict):
        return _of_dict(value)
    if isinstance(value, list):
        return [_data(item) for item in value]
    return _of_object(value)


def _of_dict(value: dict[Any, Any]) -> Any:
    simple = all(type(key) in (str, int, float, bool) for key in value)
    if not simple or not value.keys().isdisjoint(_MARKS):
        return _not_saved(value)
    content = {key: _data(item) for key, item in value.items()}
    target = content.get(_TARGET)
    if isinstance(target, dict) and target.keys() == {_NAME}:
        content[_TARGET] = target[_NAME]
    elif _TARGET in value and not isinstance(target, str):
        content[_TARGET] = _not_saved(value[_TARGET])
    return content


def _of_object(value: Any) -> Any:
    if isinstance(value, NotSaved):
        return {_NOT_SAVED: value.what}
    if isinstance(value, partial):
        name = name_of_part(value.func)
        if name is None or not value.keywords.keys().isdisjoint((*_MARKS, _ARGS)):
            return _not_saved(value)
        positional = {_ARGS: _data(list(value.args))} if value.args else {}
        return {_PARTIAL: name, **positional, **_data(value.keywords)}
    if isinstance(value, tuple) and type(value) is tuple:
        return {_TUPLE: [_data(item) for item in value]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return _of_dataclass(type(value), fields)
    name = name_of_part(value)
    return _not_saved(value) if name is None else {_NAME: name}


def _of_dataclass(kind: Any, fields: Mapping[Any, Any]) -> Any:
    name = name_of_part(kind)
    return _not_saved(kind) if name is None else {_DATACLASS: name, **_data(dict(fields))}


def _not_saved(value: Any) -> dict[str, str]:
    if isinstance(value, str):
        return {_NOT_SAVED: f"the text {value}".replace("${", "$ {")}
    name = getattr(value, "__qualname__", "")
    return {_NOT_SAVED: f"{type(value).__name__} {name}".rstrip()}


# --- reading


def from_data(content: Mapping[str, Any], source: str) -> DictConfig:
    """The config of which a run has saved this content.

    Args:
        content: what `to_data` returned, or whatever else a file may have.
        source: the file, for messages.

    Raises:
        ValueError: a name is of no part that `part_names` knows, a reference calls a function, or a value is
            no data. The message names file, key and remedy.
    """
    reader = _Reader(source)
    for key, name in _names(content, ""):
        reader.find(key, name)
    made = {key: reader.value(value, str(key)) for key, value in content.items()}
    return DictConfig(made, flags={"allow_objects": True})


class _Reader:
    """Turns the values of a saved config into those of a config."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._known = known_parts()

    def find(self, key: str, name: Any) -> Callable[..., Any]:
        """The part of this name.

        Raises:
            ValueError: it is not known.
        """
        part = find_part(name, self._known) if isinstance(name, str) else None
        if part is None:
            raise ValueError(
                f"{self._source}: {key} is {name!r}, which is no part of a model or loader that a saved "
                "config may name. If it is of your own project, --import the module that defines it; "
                f"otherwise {_REMEDY}"
            )
        return part

    def value(self, value: Any, key: str) -> Any:
        """A value of the config."""
        if isinstance(value, str):
            if not _only_refers(value):
                raise self._refusal(key, f"{value!r} calls a function")
            return value
        if value is None or type(value) in (bool, int, float):
            return value
        if isinstance(value, list):
            return [self.value(item, f"{key}.{place}") for place, item in enumerate(value)]
        if isinstance(value, dict):
            return self._mapping(value, key)
        raise self._refusal(key, f"{value!r} is a {type(value).__name__}")

    def _mapping(self, value: dict[Any, Any], key: str) -> Any:
        rest = {name: item for name, item in value.items() if name not in (*_MARKS, _ARGS)}
        marks = [mark for mark in _MARKS if mark in value]
        if any(type(name) not in (str, int, float, bool) for name in value) or len(marks) > 1:
            raise self._refusal(key, f"it has the keys {', '.join(map(repr, value))}")
        self._refuse_files(value, key, is_called=not value.keys().isdisjoint((_TARGET, _PARTIAL)))
        if not marks:
            made = {name: self.value(item, f"{key}.{name}") for name, item in value.items()}
            if isinstance(value.get(_TARGET), str):
                made[_TARGET] = self._target(key, value[_TARGET])
            return made
        (mark,) = marks
        if mark == _NOT_SAVED:
            return NotSaved(str(value[mark]))
        if mark == _NAME:
            return self._handed_on(key, value[mark])
        if mark == _TUPLE:
            return tuple(self._list(value[mark], key))
        arguments = {str(name): self.value(item, f"{key}.{name}") for name, item in rest.items()}
        if mark == _DATACLASS:
            return self._dataclass(self.find(key, value[mark]), arguments, key)
        part = self._handed_on(key, value[mark])
        positional = self._list(value.get(_ARGS, []), f"{key}.{_ARGS}")
        self._refuse_files(self._by_name(part, positional, key), key, is_called=True)
        return partial(part, *positional, **arguments)

    def _refuse_files(self, arguments: Mapping[Any, Any], key: str, *, is_called: bool) -> None:
        """Refuses arguments by which Detectron2 reads pickles, which run code.

        It finds such files by name, and in a whole config, which its classes take as `cfg`.
        """
        proposals = [n for n, item in arguments.items() if "proposal_files" in str(n).lower() and item]
        if proposals or (is_called and "cfg" in arguments):
            raise self._refusal(key, f"it has {', '.join(proposals) or 'an argument cfg'}")

    def _by_name(self, part: Callable[..., Any], positional: Sequence[Any], key: str) -> dict[str, Any]:
        """Positional arguments of a partial by the names that the part gives them."""
        try:
            return signature(part).bind_partial(*positional).arguments if positional else {}
        except (TypeError, ValueError) as error:  # it takes fewer, or does not say what it takes
            raise self._refusal(key, f"{part.__qualname__} can't take {_ARGS} ({error})") from error

    def _handed_on(self, key: str, name: Any) -> Callable[..., Any]:
        """The part of this name, which other code will call."""
        part = self.find(key, name)
        if not may_be_handed_on(part):
            raise ValueError(
                f"{self._source}: {key} is {name!r}, but as a value or partial a saved config may only "
                "have a layer, a block of a backbone or an activation, because other code calls it: "
                f"{_REMEDY}"
            )
        return part

    def _list(self, value: Any, key: str) -> Any:
        if not isinstance(value, list):
            raise self._refusal(key, f"{value!r} is no list")
        return self.value(value, key)

    def _target(self, key: str, name: str) -> Any:
        """The target for `instantiate`. OmegaConf can hold neither dataclasses nor classes like dict."""
        part = self.find(key, name)
        return name if dataclasses.is_dataclass(part) or part is dict else part

    def _dataclass(self, part: Any, fields: dict[str, Any], key: str) -> DictConfig:
        if not dataclasses.is_dataclass(part) or not isinstance(part, type):
            raise self._refusal(key, f"{part} is no dataclass")
        unknown = fields.keys() - {field.name for field in dataclasses.fields(part)}
        if unknown:
            raise self._refusal(key, f"{part.__name__} has no {', '.join(sorted(unknown))}")
        made: DictConfig = OmegaConf.structured(part)
        for name, value in fields.items():
            try:
                made[name] = value
            except OmegaConfBaseException as error:
                raise self._refusal(f"{key}.{name}", str(error).partition("\n")[0]) from error
        return made

    def _refusal(self, key: str, reason: str) -> ValueError:
        return ValueError(f"{self._source}: {key}: {reason}, which no run saves: {_REMEDY}")


def _names(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The names of parts in a saved config, with their keys."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            full = f"{key}.{name}" if key else str(name)
            if name in (_NAME, _PARTIAL, _DATACLASS) or (name == _TARGET and not _is_not_saved(item)):
                yield full, item
            else:
                yield from _names(item, full)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _names(item, f"{key}.{place}")


def _is_not_saved(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == {_NOT_SAVED}


def _only_refers(text: str) -> bool:
    """Whether every ${...} in a text refers to a key, or to the last item of a list."""
    return "${" not in _REFERENCE.sub("", text).replace(_LAST, "")
