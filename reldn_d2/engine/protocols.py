"""The evaluation protocols that a config chooses."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

from detectron2.config import CfgNode

from reldn_d2.evaluation import PROTOCOLS, EvaluationProtocol, make_protocols


def chosen_protocols(cfg: CfgNode) -> list[EvaluationProtocol[Any]]:
    """The protocols of MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS that are defined for its TASK.

    The settings of protocols are keys of TEST: their names in upper case.

    Raises:
        ValueError: a protocol is unknown, or ranks more relationships than TEST.TOP_K.
    """
    test = cfg.MODEL.ROI_RELATION_HEAD.TEST
    factories = [PROTOCOLS[name] for name in test.PROTOCOLS if name in PROTOCOLS]
    settings = {name for factory in factories for name in signature(factory).parameters}
    given = {name: getattr(test, name.upper()) for name in settings if name.upper() in test}
    return protocols_of_task(test.PROTOCOLS, test.TASK, test.TOP_K, **given)


def check_protocol_names(names: Sequence[str], key: str) -> None:
    """Checks that protocols exist, also in a config that evaluates nothing.

    Args:
        names: names of protocols.
        key: the key that names them, for the message.

    Raises:
        ValueError: a protocol is unknown.
    """
    try:
        make_protocols(names)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def protocols_of_task(
    names: Sequence[str], task: str, top_k: int, **settings: Any
) -> list[EvaluationProtocol[Any]]:
    """The named protocols that are defined for a task.

    The others are left out without an error, because one config serves all tasks.

    Args:
        names: names of protocols.
        task: "sgdet", "sgcls" or "prdcls".
        top_k: number of relationships that the model keeps for each image.
        settings: arguments of `make_protocols`.

    Raises:
        ValueError: a protocol is unknown, or ranks more than `top_k` relationships.
    """
    protocols = [protocol for protocol in make_protocols(names, **settings) if task.lower() in protocol.tasks]
    longest = max((protocol.list_length for protocol in protocols), default=0)
    if longest > top_k:
        raise ValueError(
            f"TEST.TOP_K is {top_k}, but a protocol ranks {longest} relationships: raise it, or leave the "
            "protocol out"
        )
    return protocols
