"""Checks what a mapper gave the model, so that a wrong mapper is an error at the first batch."""

from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor

_REMEDY = "load the data with RelationDatasetMapper, or let your mapper do as it does"


def require_instances(batched_inputs: list[dict[str, Any]]) -> None:
    """Checks that all inputs have annotated entities.

    Raises:
        ValueError: an input has no "instances", or they lack `gt_boxes` or `gt_classes`.
    """
    for x in batched_inputs:
        instances = _value(x, "instances")
        fields = instances.get_fields() if isinstance(instances, Instances) else {}
        if not fields.keys() >= {"gt_boxes", "gt_classes"}:
            raise ValueError(
                f"'instances' of {_name(x)} are a {type(instances).__name__} without gt_boxes or gt_classes: "
                f"{_REMEDY}"
            )


def require_relations(batched_inputs: list[dict[str, Any]]) -> None:
    """Checks that all inputs have annotated relationships of their annotated entities.

    The numbers are checked only while they are on the CPU, as a loader gives them: a GPU would have to wait.

    Raises:
        ValueError: see `require_instances`; or an input has no "relations", or they are no (R, 3) long
            tensor, or name rows that "instances" do not have.
    """
    require_instances(batched_inputs)
    for x in batched_inputs:
        relations = _value(x, "relations")
        if not isinstance(relations, Tensor):
            raise ValueError(
                f"'relations' of {_name(x)} are a {type(relations).__name__}, not a tensor of rows of "
                f"'instances', as Detectron2's DatasetMapper leaves them: {_REMEDY}"
            )
        if relations.dtype != torch.int64 or relations.ndim != 2 or relations.shape[1] != 3:
            raise ValueError(
                f"'relations' of {_name(x)} are {relations.dtype} of shape {tuple(relations.shape)}, not "
                f"long (R, 3) rows (subject, object, predicate): {_REMEDY}"
            )
        if relations.device.type == "cpu" and len(relations):
            _check_rows(x, relations, len(x["instances"]))


def _check_rows(x: dict[str, Any], relations: Tensor, entities: int) -> None:
    wrong = (relations < 0).any(dim=1) | (relations[:, :2] >= entities).any(dim=1)
    if wrong.any():
        row = int(wrong.long().argmax())
        raise ValueError(
            f"row {row} of 'relations' of {_name(x)} is {relations[row].tolist()}, but the input has "
            f"{entities} 'instances': a mapper that drops entities must drop and renumber their "
            f"relationships. {_REMEDY[0].upper()}{_REMEDY[1:]}"
        )


def _value(x: dict[str, Any], key: str) -> Any:
    if key not in x:
        raise ValueError(
            f"{_name(x)} has no {key!r}, which training, the tasks sgcls and prdcls, and queries need: "
            f"{_REMEDY}"
        )
    return x[key]


def _name(x: dict[str, Any]) -> str:
    return f"input {x['image_id']!r}" if "image_id" in x else "an input"
