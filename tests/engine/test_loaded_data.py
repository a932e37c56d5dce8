"""Both stages and both kinds of configs check what a loader returns before the first step."""

import copy
import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from reldn_d2.data.detections import save_detections
from reldn_d2.engine import load_config
from reldn_d2.engine.datasets import load_registered
from reldn_d2.engine.evaluate import parts_of
from reldn_d2.engine.parts import Config
from reldn_d2.engine.run import build_training, check_training
from tests.builders.tiny_models import REPOSITORY, TINY

NAME = "loaded_data"
SCENES = REPOSITORY / "configs" / "scenes"
TINY_LAZY = REPOSITORY / "tests" / "builders" / "tiny_lazy.py"
Register = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def register() -> Iterator[Register]:
    """Registers two scenes under `NAME`, with other values of the second one."""

    def add(**changed: Any) -> list[dict[str, Any]]:
        images = copy.deepcopy(DatasetCatalog.get("reldn_scenes_tiny_train")[:2])
        images[1] |= changed
        DatasetCatalog.register(NAME, lambda: copy.deepcopy(images))
        known = MetadataCatalog.get("reldn_scenes_tiny_train")
        names = {"thing_classes": known.thing_classes, "predicate_classes": known.predicate_classes}
        MetadataCatalog.get(NAME).set(**names)
        return images

    yield add
    if NAME in DatasetCatalog:
        DatasetCatalog.remove(NAME)
        MetadataCatalog.remove(NAME)


def config(kind: str, *more: str) -> Config:
    if kind == "python":
        return load_config(str(TINY_LAZY), [f"datasets.train=[{NAME}]", *more])
    file = SCENES / ("detector.yaml" if kind == "detector" else "reldn.yaml")
    return load_config(str(file), [*TINY, "DATASETS.TRAIN", f"('{NAME}',)", *more])


def with_class(number: int) -> list[dict[str, Any]]:
    return [{"bbox": [5, 5, 50, 50], "bbox_mode": BoxMode.XYXY_ABS, "category_id": c} for c in (0, number)]


KINDS = ("detector", "yaml", "python")


@pytest.mark.parametrize("kind", KINDS)
def test_classes_from_one_are_an_error_before_the_first_step(kind: str, register: Register) -> None:
    images = register(annotations=with_class(6), relations=[[0, 1, 0]])
    with pytest.raises(ValueError, match=f"data set {NAME} .*(.|\n)*annotation 1: class 6 of 6") as error:
        check_training(parts_of(config(kind)))
    assert f"image {images[1]['image_id']!r}" in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_may_go_on(kind: str, register: Register, caplog: pytest.LogCaptureFixture) -> None:
    register(image_id=DatasetCatalog.get("reldn_scenes_tiny_train")[0]["image_id"])
    with pytest.raises(ValueError, match="same image_id"):
        check_training(parts_of(config(kind)))
    word = "datasets.check=warn" if kind == "python" else "DATASETS.CHECK warn"
    with caplog.at_level(logging.WARNING):
        _, images = check_training(parts_of(config(kind, *word.split())))
    assert len(images) == 2
    assert any("same image_id" in text for text in caplog.messages)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_data_set_says_about_trainings_is_said_once(
    kind: str, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    register()
    check_training(parts_of(config(kind)))
    assert "scoring" not in caplog.text
    MetadataCatalog.get(NAME).set(training_note="made for scoring")
    check_training(parts_of(config(kind)))
    assert caplog.messages.count(f"{NAME}: made for scoring") == 1


def test_a_python_config_that_loads_otherwise_is_checked_too(register: Register) -> None:
    register(annotations=with_class(6), relations=[[0, 1, 0]])
    cfg = config("python")
    cfg.dataloader.train.dataset.dataset_dicts = {
        "_target_": "detectron2.data.get_detection_dataset_dicts",
        "names": NAME,
    }
    with pytest.raises(ValueError, match="annotation 1: class 6 of 6"):
        check_training(parts_of(cfg))


@pytest.mark.parametrize("key", ["annotations", "relations"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_whole_data_set_lacks_is_named(kind: str, key: str, register: Register) -> None:
    images = register()
    without = [{name: value for name, value in image.items() if name != key} for image in images]
    for image in without:
        if key == "annotations":
            image["relations"] = []
    DatasetCatalog.remove(NAME)
    DatasetCatalog.register(NAME, lambda: without)
    if kind == "detector" and key == "relations":
        assert len(check_training(parts_of(config(kind)))[1]) == 2
        return
    with pytest.raises(ValueError, match=f"image {images[0]['image_id']!r} .* has no '{key}'"):
        check_training(parts_of(config(kind)))


def test_a_test_set_is_checked_too(register: Register) -> None:
    register(annotations=with_class(6), relations=[[0, 1, 0]])
    cfg = load_config(str(SCENES / "reldn.yaml"), [*TINY, "DATASETS.TEST", f"('{NAME}',)"])
    with pytest.raises(ValueError, match="annotation 1: class 6 of 6"):
        parts_of(cfg).test_loader(NAME)
    cfg.DATASETS.CHECK = "warn"
    assert [len(batch) for batch in parts_of(cfg).test_loader(NAME).loader] == [2]
    with pytest.raises(ValueError, match="annotation 1: class 6 of 6"):
        parts_of(load_config(str(TINY_LAZY), [f"datasets.test={NAME}"])).test_loader(NAME)


def with_test_set(kind: str, *more: str) -> Config:
    """A config that trains on the tiny scenes and is tested on `NAME`."""
    if kind == "python":
        return load_config(str(TINY_LAZY), [f"datasets.test={NAME}", *more])
    file = SCENES / ("detector.yaml" if kind == "detector" else "reldn.yaml")
    return load_config(str(file), [*TINY, "DATASETS.TEST", f"('{NAME}',)", *more])


@pytest.mark.parametrize("kind", KINDS)
def test_a_test_set_is_checked_before_the_training(
    kind: str, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    register(annotations=with_class(6), relations=[[0, 1, 0]])
    with pytest.raises(ValueError, match=f"data set {NAME} .*(.|\n)*annotation 1: class 6 of 6"):
        check_training(parts_of(with_test_set(kind)))
    word = "datasets.check=warn" if kind == "python" else "DATASETS.CHECK warn"
    check_training(parts_of(with_test_set(kind, *word.split())))
    assert any("class 6 of 6" in text for text in caplog.messages)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "has no 'relations'"),
        ({"train_dataset": "nowhere"}, "'nowhere', the training split of"),
        ({"train_dataset": "reldn_vrd_train"}, "'reldn_vrd_train' is not a training split of"),
        ({"zero_shot_triplets": [[0, 0, 99]]}, "metadata zero_shot_triplets of"),
    ],
)
def test_a_test_set_that_can_not_be_scored_is_named_before_the_training(
    kind: str, metadata: dict[str, Any], message: str, register: Register
) -> None:
    images = register()
    MetadataCatalog.get(NAME).set(evaluator_type="relation", **metadata)
    if not metadata:
        for image in images:
            del image["relations"]
    cfg = with_test_set(kind)
    if kind == "detector":  # whose evaluation needs boxes alone
        assert check_training(parts_of(cfg))[1]
        return
    with pytest.raises(ValueError, match=message):
        check_training(parts_of(cfg))


@pytest.mark.parametrize("kind", KINDS)
def test_a_data_set_of_training_and_test_is_loaded_and_checked_once(
    kind: str, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = register()
    checked: list[str] = []
    monkeypatch.setattr("reldn_d2.engine.datasets.check_loaded", lambda _, name, *__: checked.append(name))
    loads: list[str] = []
    DatasetCatalog.remove(NAME)
    DatasetCatalog.register(NAME, lambda: loads.append(NAME) or copy.deepcopy(images))
    test = f"datasets.test={NAME}" if kind == "python" else f"DATASETS.TEST ('{NAME}',)"
    check_training(parts_of(config(kind, *test.split())))
    assert checked == loads == [NAME]


def test_detections_of_a_test_set_are_checked_before_the_training(
    register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = register()
    known = MetadataCatalog.get(NAME).thing_classes
    file = tmp_path / "boxes.npz"
    nothing: Any = ([], [], [])
    save_detections(file, {images[0]["image_id"]: nothing}, known)
    more = ("DATASETS.DETECTION_FILES_TEST", f"('{file}',)")
    for cfg in (with_test_set("yaml", *more), config("yaml", "DATASETS.TEST", f"('{NAME}',)", *more)):
        with pytest.raises(ValueError, match=r"boxes\.npz lacks 1 of 2 images"):
            check_training(parts_of(cfg))
    save_detections(file, {image["image_id"]: nothing for image in images}, known)
    check_training(parts_of(with_test_set("yaml", *more)))
    checked: list[str] = []
    monkeypatch.setattr("reldn_d2.engine.datasets.check_loaded", lambda _, name, *__: checked.append(name))
    check_training(parts_of(config("yaml", "DATASETS.TEST", f"('{NAME}',)", *more)))
    assert checked == [NAME]


def test_another_value_of_the_key_is_refused(register: Register) -> None:
    register()
    with pytest.raises(ValueError, match=r"DATASETS\.CHECK is 'never'"):
        load_registered([NAME], check="never")  # type: ignore[arg-type]


def test_numbers_are_those_that_are_trained_on(register: Register, tmp_path: Path) -> None:
    first, second = DatasetCatalog.get("reldn_scenes_tiny_train")[:2]
    register(annotations=[{**one, "iscrowd": 1} for one in second["annotations"]])
    run = build_training(parts_of(config("yaml", "OUTPUT_DIR", str(tmp_path))))
    assert (run.data.images, run.data.used_images) == (2, 1)
    assert run.data.used_relationships == len(first["relations"])
    batches = islice(iter(run.data_loader), 3)
    assert {len(x["relations"]) for batch in batches for x in batch} == {len(first["relations"])}


POLYGON = [[5.0, 5.0, 50.0, 5.0, 50.0, 50.0]]


def test_masks_are_looked_for_before_the_first_step(register: Register) -> None:
    images = register(annotations=with_class(1), relations=[[0, 1, 0]])
    with pytest.raises(
        ValueError, match=r"MODEL\.MASK_ON trains on .*annotation 0 of .* has no segmentation"
    ):
        check_training(parts_of(config("detector", "MODEL.MASK_ON", "True")))
    for image in images:
        image["annotations"] = [{**one, "segmentation": POLYGON} for one in image["annotations"]]
    DatasetCatalog.remove(NAME)
    DatasetCatalog.register(NAME, lambda: images)
    check_training(parts_of(config("detector", "MODEL.MASK_ON", "True")))
    # RelDN trains on no masks.
    images[1]["annotations"][0].pop("segmentation")
    check_training(parts_of(config("yaml", "MODEL.MASK_ON", "True")))


def test_keypoints_are_looked_for_before_the_first_step(register: Register) -> None:
    register()
    cfg = config("detector", "MODEL.KEYPOINT_ON", "True")
    with pytest.raises(ValueError, match="has no keypoint_names"):
        check_training(parts_of(cfg))
    MetadataCatalog.get(NAME).set(keypoint_names=["a", "b"], keypoint_flip_map=[("a", "b")])
    with pytest.raises(ValueError, match=r"MODEL\.KEYPOINT_ON .*annotation 0 of .* has no keypoints"):
        check_training(parts_of(cfg))


def test_masks_of_a_python_config_need_another_mapper(register: Register) -> None:
    images = register()
    for image in images:
        image["annotations"] = [{**one, "segmentation": POLYGON} for one in image["annotations"]]
    cfg = config("python")
    cfg.model.pop("relation_head")
    cfg.model.roi_heads.mask_head = {"_target_": "MaskHead"}
    parts = parts_of(cfg)
    assert (parts.trained_masks, parts.trained_keypoints) == ("polygon", 0)
    with pytest.raises(ValueError, match="RelationDatasetMapper, which reads neither masks"):
        parts.train_loader(images)
