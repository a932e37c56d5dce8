"""Ground-truth graphs, read from Detectron2's dataset dicts."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from reldn_d2.structures.dataset_dicts import (
    DatasetDict,
    describe,
    entity_boxes,
    entity_classes,
    relation_rows,
)

from .checks import check_ground_truth
from .graphs import GroundTruthGraph, IntArray


def ground_truth_graphs(
    dataset_dicts: Iterable[DatasetDict], num_classes: int, num_predicates: int
) -> dict[str, GroundTruthGraph]:
    """Read the annotation of every image, in pixels of the original image.

    Args:
        dataset_dicts: Detectron2's dataset dicts with "relations": (R, 3) rows (subject, object, predicate),
            where subject and object are positions in "annotations". Relationships of an entity with itself
            and repeats are kept. Optional "verified_classes": classes whose presence or absence in the image
            people verified.
        num_classes, num_predicates: sizes C and P of the vocabulary.

    Returns:
        image id as text -> annotation.

    Raises:
        ValueError: if an image id is repeated, if relations are missing or malformed, or if a box, a class or
            an index is out of range. The message names the image.
    """
    graphs: dict[str, GroundTruthGraph] = {}
    for image_id, graph in iterate_ground_truth(dataset_dicts, num_classes, num_predicates):
        if image_id in graphs:
            raise ValueError(
                f"image {image_id}: two dataset dicts have this image_id; give every image its own"
            )
        graphs[image_id] = graph
    return graphs


def iterate_ground_truth(
    dataset_dicts: Iterable[DatasetDict], num_classes: int, num_predicates: int
) -> Iterator[tuple[str, GroundTruthGraph]]:
    """Read the annotations one by one, for data sets that are too large to hold twice.

    Arguments and errors are those of `ground_truth_graphs`, but an id may be repeated.
    """
    for dataset_dict in dataset_dicts:
        graph = _graph(dataset_dict)
        check_ground_truth(graph, num_classes, num_predicates, describe(dataset_dict))
        yield str(dataset_dict["image_id"]), graph


def _graph(dataset_dict: DatasetDict) -> GroundTruthGraph:
    if "annotations" not in dataset_dict:  # an image of a test set without annotation
        dataset_dict = {**dataset_dict, "annotations": []}
    return GroundTruthGraph(
        entity_boxes(dataset_dict),
        entity_classes(dataset_dict),
        relation_rows(dataset_dict),
        np.array(dataset_dict.get("verified_classes", ()), dtype=np.int64),
    )


def with_verified_classes(
    truths: Mapping[str, GroundTruthGraph], labels: Mapping[str, IntArray]
) -> dict[str, GroundTruthGraph]:
    """Add the verified classes of image labels to annotations.

    Args:
        truths: image id -> annotation.
        labels: image id -> verified classes, see `reldn_d2.utils.image_labels.read_image_labels`. An image
            without labels keeps its verified classes. Images that are not in `truths` are ignored.

    Raises:
        ValueError: if no image is in both `truths` and `labels`.
    """
    if truths.keys().isdisjoint(labels):
        raise ValueError(
            f"no image of the image labels ({next(iter(labels), 'none')}, ...) is in the data set "
            f"({next(iter(truths), 'none')}, ...); give the labels of its split"
        )
    return {
        image_id: replace(truth, verified_classes=labels.get(image_id, truth.verified_classes))
        for image_id, truth in truths.items()
    }
