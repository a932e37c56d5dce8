"""The evaluation protocols that a config chooses, and what the model has to be asked for them."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode

from reldn_d2.evaluation import EvaluationProtocol, confusion_triplets, make_protocols
from reldn_d2.evaluation.ground_truth import ground_truth_graphs


def chosen_protocols(cfg: CfgNode) -> list[EvaluationProtocol[Any]]:
    """Those of MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS that are defined for its TASK.

    One config serves all tasks; a protocol that is not defined for this one has nothing to say about it.

    Raises:
        ValueError: an unknown protocol, or one that reads a longer list than the model makes.
    """
    test = cfg.MODEL.ROI_RELATION_HEAD.TEST
    return protocols_of_task(
        test.PROTOCOLS,
        test.TASK,
        test.TOP_K,
        predicates_per_pair=test.PREDICATES_PER_PAIR,
        excluded_predicates=test.LEFT_OUT_PREDICATES,
    )


def protocols_of_task(
    names: Sequence[str], task: str, top_k: int, **settings: Any
) -> list[EvaluationProtocol[Any]]:
    """Those of the named protocols that are defined for a task.

    Args:
        names: of protocols.
        task: "sgdet", "sgcls" or "prdcls".
        top_k: relationships that the model keeps for an image.
        settings: of `make_protocols`.

    Raises:
        ValueError: an unknown protocol, or one that reads a longer list than the model makes.
    """
    protocols = [protocol for protocol in make_protocols(names, **settings) if task.lower() in protocol.tasks]
    longest = max((protocol.list_length for protocol in protocols), default=0)
    if longest > top_k:
        raise ValueError(
            f"TEST.TOP_K is {top_k}, but a protocol ranks {longest} relationships: raise it, or leave the protocol out"
        )
    return protocols


def ask_for_named_triplets(cfg: CfgNode, dataset_dicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copies of the dataset dicts with the triplets that protocols compare beside the ranked lists, if any does.

    Args:
        cfg: of RelDN.
        dataset_dicts: annotated images; their classes must be those of the config.

    Raises:
        ValueError: naming the image, if its annotation is missing or broken.
    """
    return name_triplets(
        dataset_dicts,
        chosen_protocols(cfg),
        cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES,
    )


def name_triplets(
    dataset_dicts: list[dict[str, Any]],
    protocols: Sequence[EvaluationProtocol[Any]],
    num_classes: int,
    num_predicates: int,
) -> list[dict[str, Any]]:
    """`ask_for_named_triplets` without a config.

    Args:
        dataset_dicts: annotated images.
        protocols: that the answers are for.
        num_classes, num_predicates: C and P of the model, and of the annotations.

    Raises:
        ValueError: as `ask_for_named_triplets`.
    """
    if not any(protocol.name == "confusion" for protocol in protocols):
        return dataset_dicts
    truths = ground_truth_graphs(dataset_dicts, num_classes, num_predicates)
    return [{**x, "named_triplets": confusion_triplets(truths[str(x["image_id"])])} for x in dataset_dicts]
