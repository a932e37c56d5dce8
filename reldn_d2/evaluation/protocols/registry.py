"""The named protocols: a new protocol is one line in `PROTOCOLS`.

A protocol is made by its factory. The parameters of the factory are the settings of the protocol; all have
defaults.
"""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from inspect import signature
from typing import Any

from ..graphs import Task
from .confusion import ConfusionProtocol
from .openimages import openimages, reldn_openimages
from .protocol import EvaluationProtocol, StreamingProtocol
from .recall import motifs, reldn, vrd2016

PROTOCOLS: dict[str, Callable[..., EvaluationProtocol[Any]]] = {
    "motifs": motifs,
    "reldn": reldn,
    "vrd2016": vrd2016,
    "openimages": openimages,
    "reldn_openimages": reldn_openimages,
    "confusion": ConfusionProtocol,
}


def protocols_with(setting: str) -> list[str]:
    """Names of the protocols that have a setting."""
    return [name for name, factory in PROTOCOLS.items() if setting in signature(factory).parameters]


def make_protocols(names: Sequence[str], **settings: Any) -> list[EvaluationProtocol[Any]]:
    """Make protocols by name.

    Args:
        names: names in `PROTOCOLS`.
        settings: values of settings. Each protocol takes the settings that it has; other settings have no
            effect.

    Raises:
        ValueError: if a name or a setting is unknown, or if a protocol refuses the value of a setting.
    """
    known = dict.fromkeys(key for factory in PROTOCOLS.values() for key in signature(factory).parameters)
    _refuse_unknown("protocol", names, list(PROTOCOLS))
    _refuse_unknown("setting", list(settings), list(known))
    return [
        PROTOCOLS[name](**{key: value for key, value in settings.items() if name in protocols_with(key)})
        for name in names
    ]


def _refuse_unknown(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            similar = get_close_matches(name, known)
            hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
            raise ValueError(f"unknown {what} '{name}'; the {what}s are {', '.join(known)}{hint}")


def resolve_protocols(
    protocols: Sequence[str | EvaluationProtocol[Any]], task: Task, predicate_classes: Sequence[str]
) -> tuple[EvaluationProtocol[Any], ...]:
    """Make the protocols that are given by name, and check that all fit the task and the vocabulary.

    Args:
        protocols: names in `PROTOCOLS`, made with default settings; or protocols.
        task: the task of the evaluation.
        predicate_classes: names of the P predicates.

    Raises:
        ValueError: if a name is unknown, if a protocol does not fit the task or the vocabulary, if a protocol
            is given twice, or if there is none.
    """
    resolved = []
    for protocol in protocols:
        if isinstance(protocol, str):
            (protocol,) = make_protocols([protocol])
        if task not in protocol.tasks:
            raise ValueError(
                f"protocol {protocol.name} is for {', '.join(protocol.tasks)}, not for {task}: leave it out"
            )
        protocol.check_vocabulary(predicate_classes)
        resolved.append(protocol)
    names = [protocol.name for protocol in resolved]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"need at least one protocol and each once, got {names}")
    return tuple(resolved)


def streaming_protocols(protocols: Sequence[EvaluationProtocol[Any]]) -> tuple[StreamingProtocol[Any], ...]:
    """The protocols, all of which can score more images than the memory holds.

    Raises:
        ValueError: if one of them can't.
    """
    found = []
    for protocol in protocols:
        if not isinstance(protocol, StreamingProtocol):
            raise ValueError(
                f"protocol {protocol.name} can't be evaluated from shards, because it lacks the methods "
                "'columns' and 'summarise_columns' (see `StreamingProtocol`): leave it out, or evaluate one "
                "file of predictions"
            )
        found.append(protocol)
    return tuple(found)
