"""Mappers that RelDN can't train with: the first batch is an error that names the right mapper."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.events import EventStorage
from PIL import Image

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.engine import load_config
from reldn_d2.modeling import RelDN
from reldn_d2.modeling.inputs import require_relations
from reldn_d2.structures import Annotations, Queries
from tests.builders.tiny_models import REPOSITORY, TINY, make_input, make_model

BOXES = [[0.0, 1.0, 40.5, 31.0], [2.0, 3.0, 52.0, 63.0], [5.0, 5.0, 29.0, 30.0]]
RIGHT = "RelationDatasetMapper"


@pytest.fixture(scope="module")
def model() -> RelDN:

    return make_model(load_config(str(REPOSITORY / "configs/scenes/reldn.yaml"), [*TINY]))


def train(model: RelDN, *inputs: dict[str, Any]) -> Any:
    with EventStorage(0):
        return model.train()(list(inputs))


def image(folder: Path, *, form: str, crowd: bool, relations: Any) -> dict[str, Any]:
    file_name = str(folder / "a.png")
    Image.new("RGB", (96, 96)).save(file_name)
    flags = [False, crowd, False]
    annotations: Any = Annotations(BOXES, [0, 1, 2], flags)
    if form == "lists":
        annotations = [
            {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": i, "iscrowd": int(flag)}
            for i, (box, flag) in enumerate(zip(BOXES, flags, strict=True))
        ]
    size = {"file_name": file_name, "height": 96, "width": 96, "image_id": 7}
    return {**size, "annotations": annotations, "relations": relations}


@pytest.mark.parametrize("crowd", [False, True])
@pytest.mark.parametrize("form", ["lists", "arrays"])
@pytest.mark.parametrize("relations", [[(0, 2, 1)], np.array([[0, 2, 1]]), []])
def test_the_mapper_of_detectron2(
    model: RelDN, tmp_path: Path, form: str, crowd: bool, relations: Any
) -> None:
    given = image(tmp_path, form=form, crowd=crowd, relations=relations)
    stock = [DatasetMapper(training, augmentations=[], image_format="BGR") for training in (True, False)]
    with pytest.raises(ValueError, match=f"'relations' of input 7 are a (list|ndarray).*{RIGHT}"):
        train(model, stock[0](given))
    with pytest.raises(ValueError, match=f"input 7 has no 'instances'.*{RIGHT}"):
        train(model, stock[1](given))
    tested = stock[1](given)
    model.eval()
    assert set(model([tested])[0]) == {"instances", "relations", "task"}
    try:
        for model.task in ("prdcls", "sgcls"):
            with pytest.raises(ValueError, match=f"input 7 has no 'instances'.*{RIGHT}"):
                model([tested])
    finally:
        model.task = "sgdet"
    asked = Queries(torch.zeros((0, 2), dtype=torch.long), torch.tensor([[0, 1, 2]]))
    with pytest.raises(ValueError, match=f"input 7 has no 'instances'.*{RIGHT}"):
        model([{**tested, "queries": asked}])


def test_the_right_mapper(model: RelDN, tmp_path: Path) -> None:
    for relations in ([(0, 2, 1)], []):
        given = image(tmp_path, form="arrays", crowd=True, relations=relations)
        mapper = RelationDatasetMapper(True, augmentations=[], image_format="BGR")
        assert len(train(model, mapper(given))) == 4


def _without_fields(x: dict[str, Any]) -> dict[str, Any]:
    return {**x, "instances": Instances((96, 96), gt_boxes=x["instances"].gt_boxes)}


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "drops relations": (lambda x: {k: v for k, v in x.items() if k != "relations"}, "has no 'relations'"),
    "drops instances": (lambda x: {k: v for k, v in x.items() if k != "instances"}, "has no 'instances'"),
    "keeps lists": (lambda x: {**x, "relations": x["relations"].tolist()}, "'relations' .* are a list"),
    "float": (lambda x: {**x, "relations": x["relations"].float()}, r"float32 of shape \(2, 3\)"),
    "int32": (lambda x: {**x, "relations": x["relations"].int()}, r"int32 of shape \(2, 3\)"),
    "two columns": (lambda x: {**x, "relations": x["relations"][:, :2]}, r"int64 of shape \(2, 2\)"),
    "flat": (lambda x: {**x, "relations": x["relations"][0]}, r"int64 of shape \(3,\)"),
    "filters": (lambda x: {**x, "instances": x["instances"][:3]}, r"row 1 .* is \[3, 0, 1\].* 3 'instances'"),
    "all gone": (lambda x: {**x, "instances": x["instances"][:0]}, r"row 0 .* is \[0, 1, 2\].* 0 'inst"),
    "negative": (lambda x: {**x, "relations": -x["relations"]}, r"row 0 .* is \[0, -1, -2\]"),
    "no classes": (_without_fields, "'instances' .* without gt_boxes or gt_classes"),
    "boxes": (lambda x: {**x, "instances": Boxes(torch.zeros(4, 4))}, "'instances' .* are a Boxes without"),
}


@pytest.mark.parametrize(("change", "message"), list(CHANGES.values()), ids=list(CHANGES))
def test_a_mapper_of_another_project(model: RelDN, change: Any, message: str) -> None:
    right = make_input(4, [(0, 1, 2), (3, 0, 1)])
    right["image_id"] = "a7"
    assert len(train(model, right)) == 4
    with pytest.raises(ValueError, match=f"(?s){message}.*{RIGHT}") as error:
        train(model, make_input(2, [], seed=1), change(right))
    assert "input 'a7'" in str(error.value)


def test_values_on_a_gpu_are_not_looked_at() -> None:
    """They would make the GPU wait in each step. The device "meta" has no values at all."""
    x = make_input(2, [(0, 1, 2)])
    x["relations"] = x["relations"].to("meta")
    require_relations([x])
