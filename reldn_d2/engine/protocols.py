"""The evaluation protocols that a config chooses, and what the model has to be asked for them."""

from typing import Any

from detectron2.config import CfgNode

from reldn_d2.evaluation import EvaluationProtocol
from reldn_d2.evaluation.ground_truth import ground_truth_graphs
from reldn_d2.evaluation.protocols.confusion import named_triplets
from reldn_d2.evaluation.scoring import make_protocols


def chosen_protocols(cfg: CfgNode) -> list[EvaluationProtocol[Any]]:
    """Those of MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS that are defined for its TASK.

    One config serves all tasks; a protocol that is not defined for this one has nothing to say about it.

    Raises:
        ValueError: an unknown protocol, or one that reads a longer list than the model makes.
    """
    test = cfg.MODEL.ROI_RELATION_HEAD.TEST
    every = make_protocols(
        test.PROTOCOLS, predicates_per_pair=test.PREDICATES_PER_PAIR, left_out=test.LEFT_OUT_PREDICATES
    )
    protocols = [protocol for protocol in every if test.TASK.upper() in protocol.tasks]
    longest = max((protocol.list_length for protocol in protocols), default=0)
    if longest > test.TOP_K:
        raise ValueError(
            f"MODEL.ROI_RELATION_HEAD.TEST.TOP_K is {test.TOP_K}, but a protocol ranks {longest} relationships: "
            "raise it, or leave the protocol out"
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
    if not any("named_triplets" in protocol.needs for protocol in chosen_protocols(cfg)):
        return dataset_dicts
    truths = ground_truth_graphs(
        dataset_dicts, cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES
    )
    return [{**x, "named_triplets": named_triplets(truths[str(x["image_id"])])} for x in dataset_dicts]
