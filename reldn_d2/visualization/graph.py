"""Scene graphs as plain data: what is exported as JSON and what the drawings take.

The format, version 1. Everything is plain JSON; boxes are XYXY in pixels of the original image, continuous
coordinates (an image of width 640 ends at x = 640)::

    {
      "version": 1,
      "image": {"file_name": "street.jpg", "width": 640, "height": 480},
      "entities": [
        {"id": 0, "class": "person", "score": 0.98, "box": [12.5, 30.0, 210.0, 470.0]},
        {"id": 1, "class": "shirt", "score": 0.91, "box": [40.0, 110.0, 190.0, 300.0]}
      ],
      "relationships": [
        {"subject": 0, "object": 1, "predicate": "wear", "score": 0.83}
      ]
    }

* `entities` holds every entity, also those without a relationship; `id` is its position in the list.
* `subject` and `object` of a relationship are entity ids. Relationships come by falling score; the score is
  P(subject) * P(object) * P(predicate).
* Ground truth has the same format with `null` scores, in the order of the annotation file.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from detectron2.structures import BoxMode, Instances

from reldn_d2.utils.io import atomic_write

FORMAT_VERSION = 1
#: RelDN's relationship list holds the best 100 for every number of predicates a pair, and no more for sure.
COMPLETE_UP_TO = 100


class ImageRecord(TypedDict):
    """The image of a graph; sizes in pixels."""

    file_name: str
    width: int
    height: int


# "class" is a keyword, so this one can't be written as a class.
EntityRecord = TypedDict("EntityRecord", {"id": int, "class": str, "score": float | None, "box": list[float]})


class RelationshipRecord(TypedDict):
    """One relationship; subject and object are entity ids."""

    subject: int
    object: int
    predicate: str
    score: float | None


class SceneGraph(TypedDict):
    """A scene graph as plain data; see the module's docstring."""

    version: int
    image: ImageRecord
    entities: list[EntityRecord]
    relationships: list[RelationshipRecord]


def top_relationships(
    relations: Instances, *, top_k: int = COMPLETE_UP_TO, predicates_per_pair: int = 1
) -> Instances:
    """The best relationships when each ordered pair may have at most so many predicates.

    Args:
        relations: RelDN's "relations" of one image, sorted by falling score, with `rank_in_pair`.
        top_k: how many to return at most, in [1, 100].
        predicates_per_pair: at least 1; 1 is the graph constraint.

    Returns:
        At most `top_k` rows of `relations`, in their order.

    Raises:
        ValueError: a number out of its range.
    """
    if not 1 <= top_k <= COMPLETE_UP_TO:
        raise ValueError(f"top_k is {top_k}; use 1 to {COMPLETE_UP_TO}, the number of ranked relationships")
    if predicates_per_pair < 1:
        raise ValueError(f"predicates_per_pair is {predicates_per_pair}; use 1 or more")
    return relations[relations.rank_in_pair <= predicates_per_pair][:top_k]


def scene_graph_to_dict(
    output: Mapping[str, Instances],
    thing_classes: Sequence[str],
    predicate_classes: Sequence[str],
    *,
    file_name: str = "",
    top_k: int = COMPLETE_UP_TO,
    predicates_per_pair: int = 1,
    score_threshold: float = 0.0,
) -> SceneGraph:
    """RelDN's answer for one image as plain data.

    Args:
        output: "instances" (E entities) and "relations" of one image.
        thing_classes: C entity class names.
        predicate_classes: P predicate names, without the background.
        file_name: recorded in the graph.
        top_k, predicates_per_pair: as in `top_relationships`.
        score_threshold: relationships below are left out; in [0, 1].

    Raises:
        ValueError: a number out of its range, or a class index without a name.
    """
    entities, relations = output["instances"], output["relations"]
    relations = top_relationships(relations, top_k=top_k, predicates_per_pair=predicates_per_pair)
    relations = relations[relations.scores >= score_threshold]
    height, width = entities.image_size
    boxes, scores = entities.pred_boxes.tensor.tolist(), entities.scores.tolist()
    names = _names(entities.pred_classes.tolist(), thing_classes, "entity class")
    predicates = _names(relations.pred_predicates.tolist(), predicate_classes, "predicate")
    fields = (relations.subject_index, relations.object_index, relations.scores)
    ends = zip(*(field.tolist() for field in fields), strict=True)
    return {
        "version": FORMAT_VERSION,
        "image": {"file_name": file_name, "width": int(width), "height": int(height)},
        "entities": [
            {"id": i, "class": name, "score": score, "box": box}
            for i, (name, score, box) in enumerate(zip(names, scores, boxes, strict=True))
        ],
        "relationships": [
            {"subject": subject, "object": object, "predicate": predicate, "score": score}
            for predicate, (subject, object, score) in zip(predicates, ends, strict=True)
        ],
    }


def ground_truth_to_dict(
    dataset_dict: Mapping[str, Any], thing_classes: Sequence[str], predicate_classes: Sequence[str]
) -> SceneGraph:
    """The annotated scene graph of one dataset dict, with `None` scores and every annotated relationship.

    Args:
        dataset_dict: Detectron2's dict with "relations": (R, 3) of (subject, object, predicate).
        thing_classes: C entity class names.
        predicate_classes: P predicate names.

    Raises:
        ValueError: a class index without a name.
    """
    annotations = dataset_dict["annotations"]
    names = _names([a["category_id"] for a in annotations], thing_classes, "entity class")
    boxes = [BoxMode.convert(list(a["bbox"]), a["bbox_mode"], BoxMode.XYXY_ABS) for a in annotations]
    triplets = [[int(value) for value in row] for row in dataset_dict["relations"]]
    predicates = _names([predicate for _, _, predicate in triplets], predicate_classes, "predicate")
    return {
        "version": FORMAT_VERSION,
        "image": {
            "file_name": os.path.basename(dataset_dict["file_name"]),
            "width": int(dataset_dict["width"]),
            "height": int(dataset_dict["height"]),
        },
        "entities": [
            {"id": i, "class": name, "score": None, "box": [float(x) for x in box]}
            for i, (name, box) in enumerate(zip(names, boxes, strict=True))
        ],
        "relationships": [
            {"subject": subject, "object": object, "predicate": predicate, "score": None}
            for predicate, (subject, object, _) in zip(predicates, triplets, strict=True)
        ],
    }


def write_scene_graph(graph: SceneGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph as JSON, in one step.

    Raises:
        ValueError: the graph holds a number that JSON does not have (NaN or infinity).
    """
    try:
        text = json.dumps(graph, indent=1, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path}: not written, the graph holds NaN or infinity") from error
    with atomic_write(path) as file:
        file.write(f"{text}\n".encode())


def _names(indices: Sequence[int], names: Sequence[str], kind: str) -> list[str]:
    wrong = sorted({index for index in indices if not 0 <= index < len(names)})
    if wrong:
        raise ValueError(f"no name for {kind} {wrong} in the {len(names)} names given; pass all names")
    return [names[index] for index in indices]
