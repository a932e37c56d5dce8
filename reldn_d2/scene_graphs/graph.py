"""Scene graphs as plain data: the input of the drawings and of the exports.

This is version 1 of the format. Everything is plain JSON. Boxes are XYXY in pixels of the original image, in
continuous coordinates (an image of width 640 ends at x = 640)::

    {
      "version": 1,
      "image": {"file_name": "street.jpg", "width": 640, "height": 480},
      "entities": [
        {"id": 0, "class": "person", "score": 0.98, "box": [12.5, 30.0, 210.0, 470.0]},
        {"id": 1, "class": "shirt", "score": 0.91, "box": [40.0, 110.0, 190.0, 300.0]}
      ],
      "relationships": [
        {"subject": 0, "object": 1, "predicate": "wear", "score": 0.83, "predicate_score": 0.93}
      ]
    }

* `entities` holds every entity, also those without a relationship; `id` is its position in the list.
* `subject` and `object` of a relationship are entity ids. Relationships are sorted by descending score,
  which is P(subject) * P(object) * P(predicate). `predicate_score` is the last factor. It is missing if the
  relation head does not say it.
* Ground truth has the same format with `null` scores and without `predicate_score`, in the order of the
  annotation file.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from detectron2.structures import Instances

from reldn_d2.structures.dataset_dicts import DatasetDict, entity_boxes, entity_classes, relation_rows
from reldn_d2.structures.vocabulary import Vocabulary

FORMAT_VERSION = 1
#: What the numbers of a box are called where each has a name of its own.
CORNERS = ("x0", "y0", "x1", "y1")
#: RelDN's list of relationships holds the best 100 for any number of predicates per pair, but maybe no more.
COMPLETE_UP_TO = 100


class ImageRecord(TypedDict):
    """The image of a graph; sizes in pixels."""

    file_name: str
    width: int
    height: int


# "class" is a keyword, so this type can't be written as a class.
EntityRecord = TypedDict("EntityRecord", {"id": int, "class": str, "score": float | None, "box": list[float]})


class RelationshipRecord(TypedDict):
    """One relationship; subject and object are entity ids."""

    subject: int
    object: int
    predicate: str
    score: float | None
    predicate_score: NotRequired[float]


class SceneGraph(TypedDict):
    """A scene graph as plain data; see the module's docstring."""

    version: int
    image: ImageRecord
    entities: list[EntityRecord]
    relationships: list[RelationshipRecord]


def top_relationships(
    relations: Instances, *, top_k: int = COMPLETE_UP_TO, predicates_per_pair: int = 1
) -> Instances:
    """Select the best relationships, with a limit on the predicates of each ordered pair.

    Args:
        relations: RelDN's "relations" of one image, sorted by descending score, with `rank_in_pair`.
        top_k: largest number of relationships to return, in [1, 100].
        predicates_per_pair: largest number of predicates of a pair, at least 1; 1 is the graph constraint.

    Returns:
        At most `top_k` rows of `relations`, in their order.

    Raises:
        ValueError: a number is out of its range.
    """
    if not 1 <= top_k <= COMPLETE_UP_TO:
        raise ValueError(f"top_k is {top_k}; use 1 to {COMPLETE_UP_TO}, the number of ranked relationships")
    if predicates_per_pair < 1:
        raise ValueError(f"predicates_per_pair is {predicates_per_pair}; use 1 or more")
    return relations[relations.rank_in_pair <= predicates_per_pair][:top_k]


def check_share(name: str, value: float) -> None:
    """Checks a threshold of scores.

    Raises:
        ValueError: it is not from 0 to 1.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}: use 0 to 1")


def build_scene_graph(
    image: ImageRecord,
    classes: Sequence[str],
    boxes: Sequence[list[float]],
    relationships: Iterable[tuple[int, int, str]],
    *,
    entity_scores: Sequence[float] | None = None,
    relationship_scores: Sequence[float] | None = None,
    predicate_scores: Sequence[float] | None = None,
) -> SceneGraph:
    """Put the parts of a graph together.

    Args:
        image: the image.
        classes: class name of each of the E entities.
        boxes: E boxes, XYXY in pixels.
        relationships: R tuples (subject id, object id, predicate name).
        entity_scores: E scores; None for ground truth.
        relationship_scores: R scores; None for ground truth.
        predicate_scores: R scores of the predicates alone; None: the graph has none.

    Raises:
        ValueError: the numbers of classes, boxes and scores do not fit each other.

    Example:
        >>> from reldn_d2.scene_graphs import build_scene_graph
        >>> image = {"file_name": "kitchen.jpg", "width": 80, "height": 90}
        >>> boxes = [[0, 0, 50, 90], [40, 30, 50, 40]]
        >>> graph = build_scene_graph(image, ["person", "cup"], boxes, [(0, 1, "holds")])
        >>> graph["entities"][1]
        {'id': 1, 'class': 'cup', 'score': None, 'box': [40, 30, 50, 40]}
        >>> graph["relationships"]
        [{'subject': 0, 'object': 1, 'predicate': 'holds', 'score': None}]
    """
    triplets = list(relationships)
    of_entities = [None] * len(classes) if entity_scores is None else entity_scores
    of_relationships = [None] * len(triplets) if relationship_scores is None else relationship_scores
    records: list[RelationshipRecord] = [
        {"subject": subject, "object": object, "predicate": predicate, "score": score}
        for (subject, object, predicate), score in zip(triplets, of_relationships, strict=True)
    ]
    if predicate_scores is not None:
        for record, score in zip(records, predicate_scores, strict=True):
            record["predicate_score"] = score
    return {
        "version": FORMAT_VERSION,
        "image": image,
        "entities": [
            {"id": i, "class": name, "score": score, "box": box}
            for i, (name, score, box) in enumerate(zip(classes, of_entities, boxes, strict=True))
        ],
        "relationships": records,
    }


def scene_graph_to_dict(
    output: Mapping[str, Instances],
    thing_classes: Sequence[str],
    predicate_classes: Sequence[str],
    *,
    file_name: str = "",
    top_k: int = COMPLETE_UP_TO,
    predicates_per_pair: int = 1,
    score_threshold: float = 0.0,
    entity_threshold: float = 0.0,
) -> SceneGraph:
    """The scene graph that RelDN predicts for one image.

    Args:
        output: "instances" (E entities) and "relations" of one image.
        thing_classes: C entity class names.
        predicate_classes: P predicate names, without the background.
        file_name: file name to record in the graph.
        top_k, predicates_per_pair: as in `top_relationships`.
        score_threshold: lowest score of a relationship, in [0, 1]; relationships below it are left out.
        entity_threshold: lowest score of an entity, in [0, 1]; entities below it and their relationships are
            left out, and the other entities are numbered anew.

    Raises:
        ValueError: a number is out of its range, or a class index has no name.
    """
    check_share("score_threshold", score_threshold)
    check_share("entity_threshold", entity_threshold)
    entities, relations = output["instances"], output["relations"]
    kept = entities.scores >= entity_threshold
    relations = relations[kept[relations.subject_index] & kept[relations.object_index]]
    relations = top_relationships(relations, top_k=top_k, predicates_per_pair=predicates_per_pair)
    relations = relations[relations.scores >= score_threshold]
    entities, number = entities[kept], kept.cumsum(0) - 1
    height, width = entities.image_size
    return build_scene_graph(
        {"file_name": file_name, "width": int(width), "height": int(height)},
        _names(entities.pred_classes.tolist(), thing_classes, "entity class"),
        entities.pred_boxes.tensor.tolist(),
        zip(
            number[relations.subject_index].tolist(),
            number[relations.object_index].tolist(),
            _names(relations.pred_predicates.tolist(), predicate_classes, "predicate"),
            strict=True,
        ),
        entity_scores=entities.scores.tolist(),
        relationship_scores=relations.scores.tolist(),
        predicate_scores=relations.predicate_scores.tolist() if relations.has("predicate_scores") else None,
    )


def ground_truth_to_dict(
    dataset_dict: DatasetDict, thing_classes: Sequence[str], predicate_classes: Sequence[str]
) -> SceneGraph:
    """The annotated scene graph of one dataset dict, with `None` scores and every annotated relationship.

    Args:
        dataset_dict: Detectron2's dict with "relations": (R, 3) of (subject, object, predicate).
        thing_classes: C entity class names.
        predicate_classes: P predicate names.

    Raises:
        ValueError: a class index has no name, or the relations are missing or name no annotation.
    """
    rows = relation_rows(dataset_dict)
    predicates = _names(rows[:, 2].tolist(), predicate_classes, "predicate")
    return build_scene_graph(
        {
            "file_name": Path(dataset_dict["file_name"]).name,
            "width": int(dataset_dict["width"]),
            "height": int(dataset_dict["height"]),
        },
        _names(entity_classes(dataset_dict).tolist(), thing_classes, "entity class"),
        entity_boxes(dataset_dict).tolist(),
        zip(rows[:, 0].tolist(), rows[:, 1].tolist(), predicates, strict=True),
    )


def vocabulary_of(graphs: Iterable[SceneGraph]) -> Vocabulary:
    """The classes and predicates that occur in graphs, sorted."""
    things: set[str] = set()
    predicates: set[str] = set()
    for graph in graphs:
        things |= {entity["class"] for entity in graph["entities"]}
        predicates |= {relationship["predicate"] for relationship in graph["relationships"]}
    return Vocabulary(sorted(things), sorted(predicates))


def _names(indices: Sequence[int], names: Sequence[str], kind: str) -> list[str]:
    wrong = sorted({index for index in indices if not 0 <= index < len(names)})
    if wrong:
        raise ValueError(f"no name for {kind} {wrong} in the {len(names)} names given; pass all names")
    return [names[index] for index in indices]
