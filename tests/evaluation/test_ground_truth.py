from typing import Any

import numpy as np
import pytest
from detectron2.structures import BoxMode

from reldn_d2.evaluation.ground_truth import ground_truth_graphs


def record(**changes: Any) -> dict[str, Any]:
    annotations = [
        {"bbox": [0, 0, 9, 9], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0},
        {"bbox": [20, 5, 9, 10], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1},
    ]
    return {
        "image_id": 7,
        "annotations": annotations,
        "relations": [[0, 1, 2], [0, 1, 2], [0, 0, 1]],
    } | changes


def test_boxes_are_converted_and_repeats_and_self_relations_stay() -> None:
    graph = ground_truth_graphs([record()], 2, 3)["7"]
    assert graph.boxes.tolist() == [[0, 0, 9, 9], [20, 5, 29, 15]]
    assert graph.classes.tolist() == [0, 1]
    assert graph.relations.tolist() == [[0, 1, 2], [0, 1, 2], [0, 0, 1]]


@pytest.mark.parametrize("relations", [[], np.zeros((0, 3), dtype=np.int64)])
def test_images_without_entities_or_relations_are_images(relations: Any) -> None:
    graph = ground_truth_graphs([record(annotations=[], relations=relations)], 2, 3)["7"]
    assert graph.boxes.shape == (0, 4) and graph.relations.shape == (0, 3)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"relations": [[0, 2, 1]]}, r"is \[0, 2, 1\], but the image has 2 annotations"),
        ({"relations": [[0, 1, 3]]}, "relation predicate must be in"),
        ({"relations": [[0, 1]]}, "must be rows of three integers"),
        ({"relations": [[0.0, 1.0, 2.0]]}, "integers"),
        ({"annotations": [{"bbox": [0, 0, 9], "bbox_mode": 0, "category_id": 0}]}, "four numbers"),
        ({"annotations": [{"bbox": [0, 0, 1, 1], "bbox_mode": 2, "category_id": 0}]}, "XYXY_REL"),
        (
            {"annotations": [{"bbox": [0, 0, -1, 1], "bbox_mode": 1, "category_id": 0}], "relations": []},
            "x0 <= x1",
        ),
        ({"annotations": [{"bbox": [0, 0, 1, 1], "bbox_mode": 0, "category_id": 0.5}]}, "category_id"),
    ],
)
def test_broken_records_are_refused_with_the_image(broken: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"image 7.*{message}|{message}.*image 7"):
        ground_truth_graphs([record(**broken)], 2, 3)


def test_missing_relations_and_repeated_ids_are_refused() -> None:
    bare = record()
    del bare["relations"]
    with pytest.raises(ValueError, match=r"image 7 .*has no 'relations'"):
        ground_truth_graphs([bare], 2, 3)
    with pytest.raises(ValueError, match="image 7: two dataset dicts"):
        ground_truth_graphs([record(), record(image_id="7")], 2, 3)
