import copy
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reldn_d2.config_values import PICTURE_CHANNELS
from reldn_d2.data import RelationDatasetMapper
from reldn_d2.data.mapper import NamedFormatsMapper, renumber_relations
from reldn_d2.data.pixels import UnusablePictureError
from tests.builders.tiny_models import TinyConfig

HEIGHT, WIDTH = 60, 100


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def image_dict(path: Path, **fields: Any) -> dict[str, Any]:
    boxes = [[0, 0, 30, 20], [10, 30, 50, 60], [60, 10, 100, 40], [52, 2, 58, 8]]
    annotations = [
        {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": c, "iscrowd": 0}
        for c, box in enumerate(boxes)
    ]
    relations = np.array([[0, 1, 5], [2, 0, 6], [3, 2, 7], [1, 2, 8], [0, 0, 1], [0, 1, 5]])
    detections = {
        "boxes": np.array([[5, 5, 15, 25], [70, 0, 90, 50], [-4, -4, 3, 3]], dtype=np.float32),
        "scores": np.array([0.9, 0.8, 0.7], dtype=np.float32),
        "classes": np.array([3, 1, 2]),
    }
    return {
        "file_name": str(path),
        "height": HEIGHT,
        "width": WIDTH,
        "image_id": "photo",
        "annotations": annotations,
        "relations": relations,
        "detections": detections,
        "note": {"kept": True},
        **fields,
    }


def mapper(is_train: bool, *augmentations: Any) -> RelationDatasetMapper:
    made: RelationDatasetMapper = RelationDatasetMapper(
        is_train, augmentations=list(augmentations), image_format="BGR"
    )
    return made


def small_config() -> CfgNode:
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN = (30,)
    cfg.INPUT.MIN_SIZE_TEST = 120
    cfg.INPUT.MAX_SIZE_TEST = 150
    return cfg


def test_without_augmentation_everything_arrives_as_it_is(photo: Path) -> None:
    given = image_dict(photo)
    output = mapper(False)(given)
    assert set(output) == {*given, "image", "instances"} - {"annotations"}
    pixels = np.asarray(Image.open(photo))[:, :, ::-1]
    assert output["image"].dtype == torch.uint8
    np.testing.assert_array_equal(output["image"].permute(1, 2, 0).numpy(), pixels)
    assert output["instances"].image_size == (HEIGHT, WIDTH)
    assert output["instances"].gt_boxes.tensor.tolist() == [a["bbox"] for a in given["annotations"]]
    assert output["instances"].gt_classes.tolist() == [0, 1, 2, 3]
    assert output["relations"].tolist() == given["relations"].tolist()
    assert output["relations"].dtype == output["instances"].gt_classes.dtype == torch.int64
    assert output["image_id"] == "photo"
    assert output["note"] == {"kept": True}


@pytest.mark.parametrize("is_train", [True, False])
def test_the_given_dict_is_never_modified(photo: Path, is_train: bool) -> None:
    given = image_dict(photo)
    given["annotations"][0].update(bbox=np.array([0.0, 0.0, 30.0, 20.0]))
    before = copy.deepcopy(given)
    mapper(is_train, T.RandomFlip(prob=1.0), T.Resize((30, 50)))(given)
    given_without_size = {k: v for k, v in given.items() if k not in ("height", "width")}
    mapper(is_train)(given_without_size)
    assert set(given) == set(before)
    assert "height" not in given_without_size
    for old, new in zip(before.pop("annotations"), given.pop("annotations"), strict=True):
        assert list(old.pop("bbox")) == list(new.pop("bbox"))
        assert old == new
    for key, value in before.pop("detections").items():
        np.testing.assert_array_equal(value, given["detections"][key])
    np.testing.assert_array_equal(before.pop("relations"), given["relations"])
    assert before == {key: given[key] for key in before}


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize("horizontal", [True, False])
def test_flip_and_resize_move_boxes_and_keep_relations(photo: Path, is_train: bool, horizontal: bool) -> None:
    flip = T.RandomFlip(prob=1.0, horizontal=horizontal, vertical=not horizontal)
    output = mapper(is_train, T.Resize((90, 300)), flip)(image_dict(photo))
    expected = []
    for annotation in image_dict(photo)["annotations"]:
        x0, y0, x1, y1 = annotation["bbox"]
        if horizontal:
            x0, x1 = WIDTH - x1, WIDTH - x0
        else:
            y0, y1 = HEIGHT - y1, HEIGHT - y0
        expected.append([3 * x0, 1.5 * y0, 3 * x1, 1.5 * y1])
    assert output["image"].shape == (3, 90, 300)
    np.testing.assert_allclose(output["instances"].gt_boxes.tensor.numpy(), expected, rtol=1e-6)
    assert output["relations"].tolist() == image_dict(photo)["relations"].tolist()


def test_detections_move_with_the_image(photo: Path) -> None:
    output = mapper(False, T.RandomFlip(prob=1.0), T.Resize((120, 200)))(image_dict(photo))
    detections = output["detections"]
    assert detections.image_size == (120, 200)
    # the last one sticks out of the image and is clipped to (0, 0, 3, 3) before it is mirrored
    assert detections.pred_boxes.tensor.tolist() == [[170, 10, 190, 50], [20, 0, 60, 100], [194, 0, 200, 6]]
    assert detections.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert detections.pred_classes.tolist() == [3, 1, 2]


def test_a_crop_drops_boxes_with_their_relations_and_detections(photo: Path) -> None:
    # keeps x in [40, 100) and y in [0, 40): a corner of entity 1, nothing of entity 0
    output = mapper(True, T.CropTransform(40, 0, 60, 40))(image_dict(photo))
    assert output["image"].shape == (3, 40, 60)
    assert output["instances"].gt_classes.tolist() == [1, 2, 3]
    assert output["instances"].gt_boxes.tensor.tolist() == [[0, 30, 10, 40], [20, 10, 60, 40], [12, 2, 18, 8]]
    assert output["relations"].tolist() == [[2, 1, 7], [0, 1, 8]]
    assert output["detections"].pred_classes.tolist() == [1]
    assert output["detections"].pred_boxes.tensor.tolist() == [[30, 0, 50, 40]]


def test_at_test_time_no_box_is_dropped(photo: Path) -> None:
    data = image_dict(photo)
    data["annotations"][1]["iscrowd"] = 1
    output = mapper(False, T.CropTransform(40, 0, 60, 40))(data)
    assert output["instances"].gt_classes.tolist() == [0, 1, 2, 3]
    assert output["relations"].tolist() == data["relations"].tolist()


def test_crowds_are_dropped_in_training(photo: Path) -> None:
    data = image_dict(photo)
    data["annotations"][0]["iscrowd"] = 1
    output = mapper(True)(data)
    assert output["instances"].gt_classes.tolist() == [1, 2, 3]
    assert output["relations"].tolist() == [[2, 1, 7], [0, 1, 8]]


def test_a_crop_may_leave_nothing(photo: Path) -> None:
    output = mapper(True, T.CropTransform(90, 50, 10, 10))(image_dict(photo))
    assert len(output["instances"]) == len(output["detections"]) == 0
    assert output["instances"].gt_boxes.tensor.shape == (0, 4)
    assert output["relations"].shape == (0, 3)
    assert output["relations"].dtype == torch.int64


@pytest.mark.parametrize("is_train", [True, False])
def test_images_without_annotations_or_relations(photo: Path, is_train: bool) -> None:
    resize = T.Resize((30, 50))
    output = mapper(is_train, resize)(image_dict(photo, relations=[]))
    assert len(output["instances"]) == 4
    assert output["relations"].shape == (0, 3)
    output = mapper(is_train, resize)(image_dict(photo, annotations=[], relations=[]))
    assert output["instances"].gt_boxes.tensor.shape == (0, 4)
    assert output["relations"].shape == (0, 3)
    bare = {"file_name": str(photo), "image_id": 1}
    assert set(mapper(is_train, resize)(bare)) == {"file_name", "image_id", "height", "width", "image"}


@given(st.data())
def test_renumbering_keeps_the_entities_that_are_meant(data: st.DataObject) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=1, max_size=8))
    row = st.integers(0, len(keep) - 1)
    relations = data.draw(st.lists(st.tuples(row, row, st.integers(0, 3)), max_size=8))
    names = [f"entity {i}" for i in range(len(keep))]
    kept_names = [name for name, stays in zip(names, keep, strict=True) if stays]
    expected = [(names[s], names[o], p) for s, o, p in relations if keep[s] and keep[o]]
    found = renumber_relations(torch.tensor(relations, dtype=torch.int64).reshape(-1, 3), torch.tensor(keep))
    assert [(kept_names[s], kept_names[o], p) for s, o, p in found.tolist()] == expected


def test_the_config_is_read_as_detectron2_reads_it(photo: Path) -> None:
    cfg = small_config()
    cfg.INPUT.RANDOM_FLIP = "none"
    output = RelationDatasetMapper(cfg, is_train=True)(image_dict(photo))
    assert output["image"].shape == (3, 30, 50)
    output = RelationDatasetMapper(cfg, is_train=False)(image_dict(photo))
    assert output["image"].shape == (3, 90, 150)
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.MIN_SIZE_TRAIN = (HEIGHT,)
    output = RelationDatasetMapper(cfg, is_train=True)(image_dict(photo))
    np.testing.assert_array_equal(output["image"].permute(1, 2, 0).numpy(), np.asarray(Image.open(photo)))


def test_the_crop_of_the_config_is_for_training_only(photo: Path) -> None:
    cfg = small_config()
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE = "absolute"
    cfg.INPUT.CROP.SIZE = [20, 40]
    cfg.INPUT.MIN_SIZE_TRAIN = (20,)
    assert RelationDatasetMapper(cfg, is_train=True)(image_dict(photo))["image"].shape == (3, 20, 40)
    assert RelationDatasetMapper(cfg, is_train=False)(image_dict(photo))["image"].shape == (3, 90, 150)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lost\.png does not exist.*Its folder"):
        mapper(True)(image_dict(tmp_path / "lost.png"))


@pytest.mark.parametrize("damage", ["text", "empty", "cut off", "broken chunk"])
def test_a_damaged_image_is_named(photo: Path, damage: str) -> None:
    content = photo.read_bytes()
    damaged = {
        "text": b"<html>not found</html>",
        "empty": b"",
        "cut off": content[: len(content) // 2],
        "broken chunk": content[:33] + struct.pack(">I", 4) + b"\x00\x01\x02\x03" + content[41:],
    }
    photo.write_bytes(damaged[damage])
    with pytest.raises(ValueError, match=r"photo\.png cannot be read .*replace it"):
        mapper(True)(image_dict(photo))


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize(
    ("size", "cause"),
    [
        ((HEIGHT, WIDTH + 1), f"are {WIDTH + 1} x {HEIGHT}. Its boxes may belong to another copy: take the"),
        ((WIDTH, HEIGHT), f"are {HEIGHT} x {WIDTH}. Its EXIF data may turn the picture"),
    ],
)
def test_an_image_of_another_size_is_named(
    photo: Path, is_train: bool, size: tuple[int, int], cause: str
) -> None:
    with pytest.raises(SizeMismatchError) as caught:
        mapper(is_train)(image_dict(photo, height=size[0], width=size[1]))
    message = str(caught.value)
    assert message.startswith(f"image 'photo' ({photo}): the picture has {WIDTH} x {HEIGHT} pixels, but ")
    assert cause in message and "`reldn check` lists all such images" in message


@pytest.mark.parametrize("kind", [RelationDatasetMapper, NamedFormatsMapper])
def test_a_dict_with_one_side_is_checked_by_it(kind: Any, tiny_config: TinyConfig, photo: Path) -> None:
    mapper = kind(tiny_config(file="detector.yaml"), is_train=False)
    given = {"file_name": str(photo), "image_id": 1, "width": WIDTH}
    assert mapper(given)["height"] == HEIGHT
    with pytest.raises(SizeMismatchError, match=f"are {WIDTH - 1} x {HEIGHT}"):
        mapper({**given, "width": WIDTH - 1})


def test_relations_that_do_not_fit_are_named(photo: Path) -> None:
    with pytest.raises(ValueError, match=r"photo\.png.*4 annotations"):
        mapper(True)(image_dict(photo, relations=[(0, 4, 1)]))


@pytest.mark.parametrize("kind", [RelationDatasetMapper, NamedFormatsMapper])
@pytest.mark.parametrize("image_format", [*PICTURE_CHANNELS])
def test_a_model_can_take_the_pictures_of_every_format(
    kind: Any, image_format: str, tiny_config: TinyConfig, photo: Path
) -> None:
    cfg = tiny_config("INPUT.CROP.ENABLED", "True", "INPUT.FORMAT", image_format, file="detector.yaml")
    image = kind(cfg, is_train=True)({"file_name": str(photo), "image_id": 1})["image"]
    assert image.dtype == (torch.float32 if image_format == "YUV-BT.601" else torch.uint8)
    assert len(image) == PICTURE_CHANNELS[image_format]


@pytest.mark.parametrize("kind", [RelationDatasetMapper, NamedFormatsMapper])
def test_a_picture_that_can_not_be_resized_is_named(
    kind: Any, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    path = tmp_path / "thin.png"
    Image.new("L", (8000, 3)).save(path)
    mapper = kind(tiny_config(file="detector.yaml"), is_train=True)
    with pytest.raises(
        UnusablePictureError, match=r"thin\.png can't be used: an image of 8000 x 3 pixels can't be resized"
    ):
        mapper({"file_name": str(path), "image_id": 1})


def test_detectron2s_mapper_gets_the_same_from_usual_pictures(
    tiny_config: TinyConfig, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[..., 0] % 5).save(tmp_path / "labels.png")
    polygon = [5.0, 5, 40, 5, 40, 30]
    picture = {
        "file_name": str(tmp_path / "a.png"),
        "sem_seg_file_name": str(tmp_path / "labels.png"),
        "image_id": 1,
        "annotations": [
            {"bbox": [5, 5, 40, 30], "bbox_mode": 0, "category_id": 1, "segmentation": [polygon]},
        ],
    }
    before = copy.deepcopy(picture)
    cfg = tiny_config("MODEL.MASK_ON", "True", "INPUT.RANDOM_FLIP", "none", file="detector.yaml")
    for is_train in (True, False):
        ours = NamedFormatsMapper(cfg, is_train=is_train)(picture)
        theirs = DatasetMapper(cfg, is_train=is_train)(picture)
        assert ours.keys() == theirs.keys()
        assert torch.equal(ours["image"], theirs["image"]) and torch.equal(ours["sem_seg"], theirs["sem_seg"])
        if is_train:
            found, expected = ours["instances"], theirs["instances"]
            assert torch.equal(found.gt_boxes.tensor, expected.gt_boxes.tensor)
            assert len(found.gt_masks) == 1
    assert picture == before


def test_an_augmentation_that_fails_for_another_reason_says_its_own_words(photo: Path) -> None:
    class Broken(T.Augmentation):
        def get_transform(self, image: np.ndarray) -> T.Transform:
            raise ValueError("a fault of the augmentation")

    mapper = RelationDatasetMapper(True, augmentations=[Broken()], image_format="BGR")
    with pytest.raises(ValueError, match=r"^a fault of the augmentation$"):
        mapper({"file_name": str(photo), "image_id": 1})
