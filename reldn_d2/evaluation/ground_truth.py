"""Annotations in Detectron2's dataset dicts as ground-truth graphs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from .checks import check_ground_truth
from .graphs import GroundTruthGraph


def ground_truth_graphs(
    dataset_dicts: Iterable[Mapping[str, Any]], num_classes: int, num_predicates: int
) -> dict[str, GroundTruthGraph]:
    """Read the annotation of every image, in pixels of the original image.

    Args:
        dataset_dicts: standard dataset dicts with "relations": (R, 3) rows (subject, object, predicate), the
            first two being positions in "annotations". Self relations and repeats are kept. Optional
            "verified_classes": classes whose presence or absence in the image was verified.
        num_classes, num_predicates: sizes of the vocabulary.

    Returns:
        image id as text -> annotation.

    Raises:
        ValueError: naming the image, if its id repeats another's, relations are missing or malformed, or a
            box, class or index is out of range.
    """
    graphs: dict[str, GroundTruthGraph] = {}
    for image_id, graph in iterate_ground_truth(dataset_dicts, num_classes, num_predicates):
        if image_id in graphs:
            raise ValueError(f"image {image_id}: two records of the data set have this image_id")
        graphs[image_id] = graph
    return graphs


def iterate_ground_truth(
    dataset_dicts: Iterable[Mapping[str, Any]], num_classes: int, num_predicates: int
) -> Iterator[tuple[str, GroundTruthGraph]]:
    """As `ground_truth_graphs`, image by image, for data sets too large to hold twice; ids may repeat."""
    for record in dataset_dicts:
        image_id = str(record["image_id"])
        where = f"image {image_id}"
        if "relations" not in record:
            raise ValueError(f"{where}: the record has no 'relations'; give (0, 3) to an image without any")
        graph = _graph(record, where)
        check_ground_truth(graph, num_classes, num_predicates, where)
        yield image_id, graph


def _graph(record: Mapping[str, Any], where: str) -> GroundTruthGraph:
    annotations = record.get("annotations", [])
    if any(len(annotation["bbox"]) != 4 for annotation in annotations):
        raise ValueError(f"{where}: every bbox must be four numbers")
    boxes = np.array([annotation["bbox"] for annotation in annotations], dtype=np.float64).reshape(-1, 4)
    modes = np.array([annotation["bbox_mode"] for annotation in annotations], dtype=np.int64)
    for mode in np.unique(modes):
        if mode not in (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS):
            raise ValueError(
                f"{where}: bbox_mode must be XYXY_ABS or XYWH_ABS, not {BoxMode(int(mode)).name}"
            )
        boxes[modes == mode] = BoxMode.convert(boxes[modes == mode], BoxMode(int(mode)), BoxMode.XYXY_ABS)
    relations = np.asarray(record["relations"])
    if relations.size == 0:
        relations = np.zeros((0, 3), dtype=np.int64)
    if not np.issubdtype(relations.dtype, np.integer):
        raise ValueError(f"{where}: relations must be integers, not {relations.dtype}")
    classes = np.array([annotation["category_id"] for annotation in annotations])
    if not len(classes):
        classes = np.zeros(0, dtype=np.int64)
    verified = np.array(record.get("verified_classes", ()), dtype=np.int64)
    return GroundTruthGraph(boxes, classes, relations.astype(np.int64), verified)
