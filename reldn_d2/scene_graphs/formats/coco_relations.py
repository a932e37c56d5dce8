"""coco-relations: a data set for training, which `register_coco_relations` takes.

`reldn_d2.data.datasets.coco_relations` describes the file. Categories and predicates are numbered in the
order of the vocabulary; scores are further keys of annotations and relations.

COCO has no boxes without an area in their image. Such entities and their relationships are left out, and a
line in the log counts them. Boxes that stick out of their image are clipped, those that do so by more than a
pixel are counted, too: `PublishedRelDN` finds some that end in the padding of its network input. Boxes are
rounded to 2^-32 of a pixel.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reldn_d2.data.datasets.coco_relations import (
    boxes_without_area,
    read_coco_relations,
    save_coco_relations,
)
from reldn_d2.structures import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.structures.vocabulary import Vocabulary, check_known

from ..checking import checked_graph
from ..graph import SceneGraph, ground_truth_to_dict, vocabulary_of
from .format import About, CollectionFormat, check_image_name, check_readable, graph_named

logger = logging.getLogger(__name__)


class CocoRelationsFile(CollectionFormat):
    """All graphs as one data set."""

    ending = ".json"
    keys = frozenset({"images", "annotations", "categories", "predicates", "relations"})

    def write_all(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes the data set with all classes of a vocabulary, see `CollectionFormat.write_all`."""
        vocabulary = about.vocabulary or vocabulary_of(graphs)
        images = _Images(graphs, path, vocabulary)
        entities, relationships, clipped = images.check()
        info = {"model": about.model} if about.model else None
        save_coco_relations(images, vocabulary, path, info=info)
        if entities:
            logger.warning(
                "%s: %d entities without an area in their image and %d relationships with them are left out, "
                "because COCO has no such boxes: use jsonl",
                path, entities, relationships,
            )  # fmt: skip
        if clipped:
            logger.warning(
                "%s: %d boxes that stick out of their image are clipped: in jsonl they are as they were",
                path, clipped,
            )  # fmt: skip

    def read(self, path: Path) -> Iterator[SceneGraph]:
        """Reads the data set, see `Format.read`. Scores that the file lacks are null."""
        check_readable(path)
        content = read_coco_relations(path, with_scores=True)
        things, predicates = (
            [record["name"] for record in table.records] for table in (content.categories, content.predicates)
        )
        for number, dataset_dict in enumerate(content.dataset_dicts(""), start=1):
            graph = ground_truth_to_dict(dataset_dict, things, predicates)
            graph["image"]["file_name"] = dataset_dict["file_name"]
            for entity, score in zip(graph["entities"], dataset_dict["entity_scores"].tolist(), strict=True):
                entity["score"] = _or_none(score)
            for relationship, score, predicate_score in zip(
                graph["relationships"],
                dataset_dict["relation_scores"].tolist(),
                dataset_dict["predicate_scores"].tolist(),
                strict=True,
            ):
                relationship["score"] = _or_none(score)
                if not math.isnan(predicate_score):
                    relationship["predicate_score"] = predicate_score
            yield checked_graph(graph, f"{path}, image {number}")


class _Images:
    """Graphs as dataset dicts, made anew in each pass, so that memory stays flat."""

    def __init__(self, graphs: Iterable[SceneGraph], path: Path, vocabulary: Vocabulary) -> None:
        self._graphs, self._path, self._vocabulary = graphs, path, vocabulary
        self._things = {name: i for i, name in enumerate(vocabulary.thing_classes)}
        self._predicates = {name: i for i, name in enumerate(vocabulary.predicate_classes)}

    def __iter__(self) -> Iterator[DatasetDict]:
        for number, graph in enumerate(self._graphs, start=1):
            yield {**graph_named(self._path, self._dataset_dict, graph), "image_id": number}

    def check(self) -> tuple[int, int, int]:
        """Checks names, and counts what can't be written as it is.

        Returns:
            Numbers of entities without an area and of relationships with them, which are left out, and of
            boxes that stick out by more than a pixel, which are clipped.

        Raises:
            ValueError: an image has no name or one that leads out of the folder of images, or a class is not
                in the vocabulary.
        """
        entities = relationships = clipped = 0
        for graph in self._graphs:
            dataset_dict = graph_named(self._path, self._dataset_dict, graph)
            entities += len(graph["entities"]) - len(dataset_dict["annotations"])
            relationships += len(graph["relationships"]) - len(dataset_dict["relations"])
            clipped += dataset_dict["clipped"]
        return entities, relationships, clipped

    def _dataset_dict(self, graph: SceneGraph) -> DatasetDict:
        image, entities, relationships = graph["image"], graph["entities"], graph["relationships"]
        check_image_name(image["file_name"])
        found = np.array([entity["box"] for entity in entities], dtype=np.float64).reshape(-1, 4)
        boxes = found.clip(0, [image["width"], image["height"]] * 2)
        kept = ~boxes_without_area(boxes, image["width"], image["height"])
        number = np.cumsum(kept) - 1
        classes = _numbers([entity["class"] for entity in entities], self._things, "class")
        predicates = _numbers([x["predicate"] for x in relationships], self._predicates, "predicate")
        ends = np.array([(x["subject"], x["object"]) for x in relationships], dtype=np.int64).reshape(-1, 2)
        kept_relationships = kept[ends].all(axis=1)
        rows = np.column_stack([number[ends], predicates])[kept_relationships]
        return {
            "file_name": image["file_name"],
            "width": image["width"],
            "height": image["height"],
            "annotations": Annotations(boxes[kept], classes[kept]),
            "relations": rows,
            "clipped": int(((np.abs(boxes - found) > 1).any(axis=1) & kept).sum()),
            "entity_scores": _scores([entity["score"] for entity in entities])[kept],
            "relation_scores": _scores([x["score"] for x in relationships])[kept_relationships],
            "predicate_scores": _scores([x.get("predicate_score") for x in relationships])[
                kept_relationships
            ],
        }


def _numbers(names: Sequence[str], known: dict[str, int], kind: str) -> NDArray[np.int64]:
    check_known(names, known, kind)
    return np.array([known[name] for name in names], dtype=np.int64)


def _scores(values: Sequence[Any]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _or_none(score: float) -> float | None:
    return None if math.isnan(score) else score
