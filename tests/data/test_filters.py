import copy
import logging
from typing import Any

import numpy as np
import pytest
from detectron2.structures import BoxMode

from reldn_d2.data import prepare_training_relations


def image(image_id: int, relations: Any, entities: int = 3) -> dict[str, Any]:
    box = {"bbox": [0, 0, 5, 5], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    return {"image_id": image_id, "annotations": [box] * entities, "relations": relations}


def test_self_relations_repeats_and_empty_images_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = [
        image(1, [(2, 0, 5), (1, 1, 3), (0, 1, 4), (2, 0, 5), (2, 0, 6), (2, 0, 5)]),
        image(2, []),
        image(3, np.array([[0, 0, 1]])),
        image(4, [(0, 2, 7)]),
    ]
    before = copy.deepcopy(given)
    with caplog.at_level(logging.INFO):
        kept = prepare_training_relations(given, "mine")
    assert [d["image_id"] for d in kept] == [1, 4]
    assert kept[0]["relations"].tolist() == [[2, 0, 5], [0, 1, 4], [2, 0, 6]]
    assert kept[0]["relations"].dtype == np.int64
    assert kept[0]["annotations"] is given[0]["annotations"]
    assert len(caplog.records) == 1
    assert caplog.messages[0] == (
        "Training relationships of mine: kept 4 in 2 images; dropped 2 of an entity with itself, 2 repeats "
        "and 2 images without relationships."
    )
    for old, new in zip(before, given, strict=True):
        np.testing.assert_array_equal(old.pop("relations"), new["relations"])
        assert old == {key: value for key, value in new.items() if key != "relations"}


@pytest.mark.parametrize("images", [[], [image(1, [])], [image(1, [(1, 1, 0)])]])
def test_nothing_to_train_on_is_an_error(images: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=f"'mine' has no relationship.*{len(images)} images"):
        prepare_training_relations(images, "mine")
