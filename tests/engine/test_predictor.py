"""`RelationPredictor`: every kind of image and box, in batches, in threads, with the evaluation's answers."""

import io
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any
from weakref import ref

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances
from PIL import Image

from reldn_d2 import visualization
from reldn_d2.data.images import read_image
from reldn_d2.engine import (
    GivenBoxes,
    Prediction,
    RelationPredictor,
    Relationship,
    Request,
    evaluate,
    load_config,
)
from reldn_d2.engine.prediction.pictures import to_picture
from reldn_d2.evaluation import load_predictions
from reldn_d2.model_zoo import zoo_entry
from reldn_d2.structures.dataset_dicts import entity_boxes, entity_classes
from tests.builders.tiny_models import REPOSITORY, TINY
from tests.builders.tiny_runs import save_random_weights

SCENES = "reldn_scenes_tiny_test"
# Random weights give low scores to everything.
OPTIONS = [
    *(*TINY, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "TEST.DETECTIONS_PER_IMAGE", "5"),
    *("TEST.IMS_PER_BATCH", "1"),
]
# Three boxes in a photo of 200 x 120 pixels, XYXY.
BOXES = np.array([[120.0, 10, 180, 90], [5, 5, 60, 110], [70, 40, 110, 80]])


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> RelationPredictor:
    """A predictor with random weights, for the classes of the drawn scenes."""
    folder = tmp_path_factory.mktemp("random")
    cfg = load_config(str(REPOSITORY / "configs/scenes/reldn.yaml"), [*OPTIONS, "MODEL.WEIGHTS", ""])
    cfg.MODEL.WEIGHTS = save_random_weights(cfg, folder)
    cfg.OUTPUT_DIR = str(folder / "run")
    return RelationPredictor(cfg)


@pytest.fixture
def photo() -> np.ndarray:
    """(120, 200, 3) noise, BGR."""
    return np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8)


def scenes(number: int = 8) -> list[dict[str, Any]]:
    return list(DatasetCatalog.get(SCENES)[:number])


def values(prediction: dict[str, Any]) -> dict[str, Any]:
    """All numbers of a prediction, as lists."""
    found = {"task": prediction["task"]}
    for key in ("instances", "relations"):
        for name, value in prediction[key].get_fields().items():
            found[f"{key}.{name}"] = (value.tensor if isinstance(value, Boxes) else value).tolist()
    return found


def assert_close(one: Prediction, other: Prediction) -> None:
    """The same entities, and the same best score for each pair, but for rounding.

    Which of two predicates with nearly the same score comes first is left to rounding.
    """
    np.testing.assert_allclose(boxes_of(one), boxes_of(other), rtol=1e-4, atol=1e-3)
    assert len(one.entities) <= 10  # so that the list of 100 has every pair
    scores = [
        {(x.subject.index, x.object.index): x.score for x in prediction.relationships}
        for prediction in (one, other)
    ]
    assert scores[0].keys() == scores[1].keys()
    for pair, score in scores[0].items():
        assert score == pytest.approx(scores[1][pair], rel=1e-4, abs=1e-7)


def boxes_of(prediction: Prediction) -> np.ndarray:
    return prediction["instances"].pred_boxes.tensor.numpy()


# ---------------------------------------------------------------------------------------------- evaluation


def given_in(task: str, scene: dict[str, Any]) -> dict[str, Any]:
    """The boxes that a call of a task gets."""
    given = {"sgdet": {}, "sgcls": {"boxes"}, "prdcls": {"boxes", "classes"}}[task]
    return {
        name: value
        for name, value in (("boxes", entity_boxes(scene)), ("classes", entity_classes(scene)))
        if name in given
    }


@pytest.mark.parametrize("task", ["sgdet", "sgcls", "prdcls"])
def test_alone_the_answers_are_those_of_the_evaluation(
    predictor: RelationPredictor, task: str, tmp_path: Path
) -> None:
    cfg = predictor.parts.cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR, cfg.MODEL.ROI_RELATION_HEAD.TEST.TASK = str(tmp_path), task
    evaluate(cfg)
    file = tmp_path / "inference" / SCENES / task / "relation_predictions.npz"
    graphs = load_predictions(file).predictions
    for scene in scenes():
        found, expected = (
            predictor(scene["file_name"], **given_in(task, scene)),
            graphs[str(scene["image_id"])],
        )
        assert found.task == task
        assert np.array_equal(boxes_of(found), expected.boxes)
        assert np.array_equal(found["instances"].pred_classes, expected.classes)
        assert np.array_equal(found["instances"].scores, expected.scores)
        relations, listed = found["relations"], expected.relations
        assert np.array_equal(relations.scores, listed.score)
        for ours, theirs in [
            (relations.subject_index, listed.subject),
            (relations.object_index, listed.object),
            (relations.pred_predicates, listed.predicate),
        ]:
            assert np.array_equal(ours, theirs)


# Detections of random weights have nearly the same scores, so rounding would choose among them.
@pytest.mark.parametrize("task", ["sgcls", "prdcls"])
def test_in_a_batch_of_one_size_the_answers_are_those_alone(predictor: RelationPredictor, task: str) -> None:
    chosen = scenes(8)
    columns = [given_in(task, scene) for scene in chosen]
    given = {name: [column[name] for column in columns] for name in columns[0]}
    batched = predictor([scene["file_name"] for scene in chosen], batch_size=8, **given)
    for scene, column, found in zip(chosen, columns, batched, strict=True):
        assert_close(found, predictor(scene["file_name"], **column))


def test_given_detections_are_those_of_cached_files(predictor: RelationPredictor) -> None:
    """Boxes, classes and scores take the way of "detections" in an evaluation."""
    (scene,) = scenes(1)
    first = predictor(scene["file_name"])
    again = predictor(
        scene["file_name"],
        boxes=first["instances"].pred_boxes,
        classes=first["instances"].pred_classes,
        scores=first["instances"].scores,
    )
    assert again.task == "sgdet"
    assert_close(again, first)


def test_detections_in_a_batch_are_those_alone(scenes_tiny: RelationPredictor) -> None:
    """With a trained model. What is near the detector's threshold may come and go with the last digits."""
    paths = [scene["file_name"] for scene in scenes(8)]
    for path, batched in zip(paths, scenes_tiny(paths, batch_size=8), strict=True):
        alone = scenes_tiny(path)
        for found, other in ((alone, batched), (batched, alone)):
            sure = found.best(score_threshold=0.3)
            assert len(sure) > 2
            for relationship in sure:
                assert any(same_but_for_rounding(relationship, x) for x in other.relationships)


def same_but_for_rounding(one: Relationship, other: Relationship) -> bool:
    parts = [
        (x.subject.name, x.predicate, x.object.name, (*x.subject.box, *x.object.box), x.score)
        for x in (one, other)
    ]
    return (
        parts[0][:3] == parts[1][:3]
        and np.allclose(parts[0][3], parts[1][3], atol=0.01)
        and abs(parts[0][4] - parts[1][4]) < 1e-3
    )


# ------------------------------------------------------------------------------------------------- batches


def test_sizes_are_never_mixed_in_a_batch(
    predictor: RelationPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, sizes, batches = np.random.default_rng(1), [(96, 96), (60, 120), (96, 96), (61, 119)], []
    pictures = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes * 3]
    inference = type(predictor.model).inference

    def spy(model: Any, inputs: list[Any], *more: Any, **others: Any) -> Any:
        batches.append(model.preprocess_image(inputs).tensor.shape)
        assert {model.preprocess_image([one]).tensor.shape[1:] for one in inputs} == {batches[-1][1:]}
        return inference(model, inputs, *more, **others)

    monkeypatch.setattr(type(predictor.model), "inference", spy)
    boxes = [BOXES / 4] * len(pictures)
    classes = [[0, 1, 2]] * len(pictures)
    found = predictor(pictures, boxes=boxes, classes=classes, batch_size=4)
    # 60 x 120 and 61 x 119 have one size once they are padded.
    assert sorted(shape[0] for shape in batches) == [2, 2, 4, 4]
    monkeypatch.undo()
    for picture, prediction in zip(pictures, found, strict=True):
        assert prediction["instances"].image_size == picture.shape[:2]
        assert_close(prediction, predictor(picture, boxes=BOXES / 4, classes=[0, 1, 2]))


def test_sizes_are_mixed_in_a_batch_when_asked_for(
    predictor: RelationPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, sizes, batches = np.random.default_rng(1), [(60, 60), (60, 120), (120, 60)], []
    pictures = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    inference = type(predictor.model).inference

    def spy(model: Any, inputs: list[Any], *more: Any, **others: Any) -> Any:
        batches.append([tuple(x["image"].shape[1:]) for x in inputs])
        return inference(model, inputs, *more, **others)

    monkeypatch.setattr(type(predictor.model), "inference", spy)
    found = predictor(pictures, batch_size=3, pad=True)
    (shapes,) = batches
    assert len(set(shapes)) == 3
    for picture, prediction in zip(pictures, found, strict=True):
        assert prediction["instances"].image_size == picture.shape[:2]
    # What is given still separates batches.
    batches.clear()
    predictor(pictures, boxes=[None, BOXES / 8, None], batch_size=3, pad=True)
    assert sorted(map(len, batches)) == [1, 2]


def test_a_batch_that_does_not_fit_is_tried_image_by_image(
    predictor: RelationPredictor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = [np.full((60, 60, 3), shade, np.uint8) for shade in (30, 90, 200)]
    expected = predictor(pictures, batch_size=1)
    backbone: Any = predictor.model.backbone
    right = backbone.forward

    def small_memory(images: torch.Tensor) -> Any:
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return right(images)

    monkeypatch.setattr(backbone, "forward", small_memory)
    found = predictor(pictures, batch_size=3)
    assert "a batch of 3 images does not fit into memory: make the batch" in caplog.text
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_every_request_has_one_outcome(predictor: RelationPredictor, batch_size: int) -> None:
    pictures: list[Any] = [np.full((40, width, 3), 90, np.uint8) for width in (40, 80, 60, 40, 40, 80, 60)]
    pictures[2] = "no such file.png"
    outcomes = list(predictor.stream(pictures, batch_size=batch_size))
    assert sorted(outcome.position for outcome in outcomes) == list(range(7))
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    assert [outcome.position for outcome in failed] == [2] and isinstance(failed[0].error, FileNotFoundError)
    assert all((outcome.prediction is None) == (outcome.error is not None) for outcome in outcomes)
    if batch_size == 1:
        assert [outcome.position for outcome in outcomes] == list(range(7))


def test_images_are_read_when_their_turn_comes(predictor: RelationPredictor) -> None:
    """A stream has no end; at most four batches wait."""
    taken = 0

    def pictures() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield np.full((40, 40 + 32 * (taken % 11), 3), 90, np.uint8)  # eleven sizes

    stream = predictor.stream(pictures(), batch_size=2)
    most = 0
    for number in range(1, 20):
        next(stream)
        most = max(most, taken - number)
    assert most <= 4 * 2


def test_one_image_that_fails_stops_no_other(
    predictor: RelationPredictor, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference = type(predictor.model).inference

    def fragile(model: Any, inputs: list[Any], *more: Any, **others: Any) -> Any:
        if any(x["image"].float().mean() > 250 for x in inputs):
            raise RuntimeError("not enough memory")
        return inference(model, inputs, *more, **others)

    monkeypatch.setattr(type(predictor.model), "inference", fragile)
    outcomes = list(predictor.stream([photo, np.full_like(photo, 255), photo], batch_size=3))
    errors = {outcome.position: str(outcome.error) for outcome in outcomes if outcome.error}
    assert errors == {1: "not enough memory"}
    with pytest.raises(RuntimeError, match="not enough memory"):
        predictor([photo, np.full_like(photo, 255)])


def test_what_holds_the_memory_of_a_failed_image_is_freed(
    predictor: RelationPredictor, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a list of outcomes would keep the feature maps of every image that failed."""
    maps: list[Any] = []

    def fails(*args: Any, **options: Any) -> Any:
        feature_map = torch.zeros(3)
        maps.append(ref(feature_map))
        try:
            allocates(feature_map)
        except MemoryError as error:
            raise RuntimeError("not enough memory") from error

    def allocates(feature_map: torch.Tensor) -> None:
        larger = feature_map.repeat(2)
        maps.append(ref(larger))
        raise MemoryError

    monkeypatch.setattr(type(predictor.model), "inference", fails)
    outcomes = list(predictor.stream([photo, photo], batch_size=2))
    assert [str(outcome.error) for outcome in outcomes] == ["not enough memory"] * 2
    assert len(maps) == 2 * 3 and not any(kept() is not None for kept in maps)


def test_whatever_is_wrong_with_one_image(predictor: RelationPredictor, photo: np.ndarray) -> None:
    requests: list[Any] = [photo, Request(photo, "boxes"), {}, photo]  # type: ignore[arg-type]
    outcomes = {outcome.position: outcome.error for outcome in predictor.stream(requests, batch_size=1)}
    assert [position for position, error in outcomes.items() if error] == [1, 2]


def test_no_image_and_no_batch(predictor: RelationPredictor, photo: np.ndarray) -> None:
    assert predictor([]) == []
    with pytest.raises(ValueError, match="batch_size is 0"):
        predictor([photo], batch_size=0)


def test_threads(predictor: RelationPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of different tasks that are in the model at the same time answer as one after the other."""
    calls = [
        (scene["file_name"], given_in(task, scene)) for scene in scenes(3) for task in ("sgdet", "prdcls")
    ]
    expected = [values(predictor(image, **given)) for image, given in calls]
    inference, both = type(predictor.model).inference, Barrier(2, timeout=600)

    def together(model: Any, *args: Any, **options: Any) -> Any:
        both.wait()
        return inference(model, *args, **options)

    def answer(call: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        try:
            return values(predictor(call[0], **call[1]))
        except BaseException:
            both.abort()  # the other thread must not wait for this one
            raise

    monkeypatch.setattr(type(predictor.model), "inference", together)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(answer, calls))
    assert found == expected


# -------------------------------------------------------------------------------------------------- images


def same_picture(photo: np.ndarray, folder: Path) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Name -> one picture in another form, and the options of a call with it."""
    file = folder / "photo.png"
    cv2.imwrite(str(file), photo)
    rgb = np.ascontiguousarray(photo[..., ::-1])
    return {
        "path": (file, {}),
        "text": (str(file), {"color": "rgb"}),  # a file says itself what it is
        "bgr": (photo, {}),
        "rgb": (rgb, {"color": "rgb"}),
        "view": (rgb[..., ::-1], {}),
        "pil": (Image.fromarray(rgb), {}),
        "opened": (Image.open(file), {}),
        "transparent": (Image.fromarray(rgb).convert("RGBA"), {}),
        "tensor": (torch.from_numpy(photo).permute(2, 0, 1), {}),
        "rgb tensor": (torch.from_numpy(rgb).permute(2, 0, 1).contiguous(), {"color": "rgb"}),
    }


def test_every_kind_of_image(predictor: RelationPredictor, photo: np.ndarray, tmp_path: Path) -> None:
    before = photo.copy()
    forms = same_picture(photo, tmp_path)
    expected = values(predictor(photo))
    for name, (image, options) in forms.items():
        assert values(predictor(image, **options)) == expected, name
    assert np.array_equal(photo, before)


@pytest.mark.parametrize("image_format", ["BGR", "RGB", "L", "YUV-BT.601"])
def test_every_image_format_of_a_config(photo: np.ndarray, tmp_path: Path, image_format: str) -> None:
    for name, (image, options) in same_picture(photo, tmp_path).items():
        expected = read_image(str(tmp_path / "photo.png"), image_format)
        found = to_picture(image, options.get("color", "bgr"), image_format)
        assert np.array_equal(found, expected), name


def test_pictures_are_turned_upright(predictor: RelationPredictor, photo: np.ndarray, tmp_path: Path) -> None:
    picture, exif = Image.fromarray(photo), Image.Exif()
    exif[274] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    one, other = predictor(tmp_path / "turned.png"), predictor(Image.open(tmp_path / "turned.png"))
    assert one["instances"].image_size == (200, 120)
    assert values(one) == values(other)


NOT_IMAGES: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "none": (lambda x: None, "not NoneType: check the path"),
    "a dict": (lambda x: {}, "not dict"),
    "no pixel": (lambda x: x[:0], "without a pixel"),
    "shares of 1": (lambda x: (x / 255).astype(np.float32), r"float32 from 0 to 1: \(255 \* image\)"),
    "normalised": (lambda x: x - 128.0, "undo its normalisation"),
    "nan": (lambda x: np.where(x > 9, x, np.nan), "with NaN or infinity"),
    "sixteen bits": (lambda x: x.astype(np.uint16) * 257, "uint16 from .* to 65535: scale it"),
    "one channel": (lambda x: x[..., :1], r"\(120, 200, 1\) uint8: for a grey picture"),
    "grey": (lambda x: x[..., 0], r"\(120, 200\) uint8: for a grey picture"),
    "four channels": (lambda x: np.dstack([x, x[..., 0]]), r"leave out the transparency"),
    "channels first": (lambda x: x.transpose(2, 0, 1), r"transpose\(1, 2, 0\)"),
    "a batch": (lambda x: x[None], "give several images as a list"),
    "tensor, channels last": (torch.from_numpy, r"permute\(2, 0, 1\)"),
    "tensor from 0 to 1": (lambda x: torch.from_numpy(x).permute(2, 0, 1) / 255, "torch.float32 from 0 to 1"),
    "deep": (lambda x: Image.fromarray(x[..., 0].astype(np.int32)), "from 0 to 255, and 2147483647 is white"),
    "encoded": (lambda x: cv2.imencode(".png", x)[1].reshape(-1), "cv2.imdecode reads it"),
    "texts": (lambda x: np.array(["a.png"]), "not an array of shape"),
    "bfloat16": (lambda x: torch.zeros(3, 4, 4, dtype=torch.bfloat16), "not a torch.bfloat16 tensor"),
    "floats": (lambda x: Image.fromarray(x[..., 0].astype(np.float32)), "from 0.0 to 255.0, and 1 is white"),
    "no dimension": (lambda x: np.array(7, np.uint8), r"not an array of shape \(\) uint8"),
    "flags": (lambda x: x > 9, r"not an array of shape \(120, 200, 3\) bool"),
    "no path": (lambda x: "", "not the path ''"),
    "buffer": (lambda x: bytearray(cv2.imencode(".png", x)[1]), r"not bytearray: bytes\(content\)"),
    "no content": (lambda x: b"", r"the picture of 0 bytes cannot be read \(cannot identify .*: it is d"),
    "cut content": (
        lambda x: cv2.imencode(".png", x)[1].tobytes()[:9000],
        r"the picture of 9,000 bytes cannot be read \(image file is truncated\): it is damaged",
    ),
    "open file": (lambda x: io.BytesIO(), "not BytesIO: PIL.Image.open makes"),
    "generator": (lambda x: (y for y in [x]), "not generator: give a list, or call `stream`"),
    "sparse tensor": (lambda x: torch.zeros(3, 4, 4, dtype=torch.uint8).to_sparse(), "a torch.uint8 tensor"),
    "no numbers": (lambda x: torch.zeros(3, 4, 4, dtype=torch.uint8, device="meta"), "on the device meta"),
    "cut": (
        lambda x: Image.open(io.BytesIO(cv2.imencode(".png", x)[1].tobytes()[:9000])),
        r"the picture of PIL cannot be decoded \(image file is truncated\)",
    ),
}


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_what_is_no_image(predictor: RelationPredictor, photo: np.ndarray, name: str) -> None:
    make, message = NOT_IMAGES[name]
    with pytest.raises(ValueError, match=message):
        predictor(make(photo))
    with pytest.raises(ValueError, match=f"image 1 of 2: .*{message}"):
        predictor([photo, make(photo)])


def test_files_that_are_no_images(predictor: RelationPredictor, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.png: there is no such file: check the path"):
        predictor(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("a text")
    with pytest.raises(ValueError, match=r"text\.png cannot be read .*: it is damaged, or no image"):
        predictor(str(tmp_path / "text.png"))


def test_a_picture_that_is_too_thin(predictor: RelationPredictor) -> None:
    with pytest.raises(ValueError, match="an image of 8000 x 3 pixels can't be resized"):
        predictor(np.zeros((3, 8000, 3), np.uint8))


def test_color(predictor: RelationPredictor, photo: np.ndarray) -> None:
    with pytest.raises(ValueError, match='use "bgr"'):
        predictor(photo, color="BGR")  # type: ignore[call-overload]


# --------------------------------------------------------------------------------------------------- boxes


def test_given_boxes_keep_their_order(predictor: RelationPredictor, photo: np.ndarray) -> None:
    classes = ["cup", "person", "guitar"]
    for given in (
        {"boxes": BOXES},
        {"boxes": BOXES, "classes": classes},
        {"boxes": BOXES.tolist(), "classes": [predictor.thing_classes.index(name) for name in classes]},
        {"boxes": torch.tensor(BOXES), "classes": np.array(classes), "scores": [0.2, 0.9, 0.5]},
        {"boxes": GivenBoxes(BOXES, classes, [0.2, 0.9, 0.5])},
    ):
        found = predictor(photo, **given)
        np.testing.assert_allclose(boxes_of(found), BOXES, rtol=1e-5)
        if "classes" in given or isinstance(given["boxes"], GivenBoxes):
            assert [entity.name for entity in found.entities] == classes
        if "scores" in given:
            assert [entity.score for entity in found.entities] == pytest.approx([0.2, 0.9, 0.5])


@pytest.mark.parametrize("classes", [None, []])
def test_no_boxes(predictor: RelationPredictor, photo: np.ndarray, classes: list[str] | None) -> None:
    found = predictor(photo, boxes=[], classes=classes)
    assert found.entities == [] and found.relationships == []
    assert found.draw().shape[2] == 3 and "no relationship" in found._repr_html_()


def test_boxes_beyond_the_image_are_clipped_and_counted(
    predictor: RelationPredictor, photo: np.ndarray
) -> None:
    found = predictor(photo, boxes=[[-20, 5, 60, 110], [70, 40, 110, 120.5], [0, 0, 200, 120]])
    assert found.clipped_boxes == 1
    np.testing.assert_allclose(
        boxes_of(found), [[0, 5, 60, 110], [70, 40, 110, 120], [0, 0, 200, 120]], atol=1e-4
    )


WRONG_BOXES: dict[str, tuple[dict[str, Any], str]] = {
    "shares": (
        {"boxes": BOXES / [200, 120, 200, 120]},
        r"shares of the image do: multiply .* \(200, 120, 200, 120\)",
    ),
    "shares with rounding": ({"boxes": [[-0.001, 0.1, 0.5, 1.0000001]]}, "shares of the image do"),
    "xywh": ({"boxes": [[120, 10, 60, 80]]}, r"box 0 is \(120, 10, 60, 80\), .* If these are \(x, y, width"),
    "outside": (
        {"boxes": [*BOXES, [300, 10, 400, 20]]},
        r"box 3 is \(300, 10, 400, 20\), outside an image of 200 x 120",
    ),
    "nan": ({"boxes": [[0, 0, np.nan, 9]]}, r"box 0 is \(0, 0, nan, 9\): coordinates are finite"),
    "five numbers": ({"boxes": np.ones((2, 5))}, r"boxes of shape \(2, 5\)"),
    "one box": ({"boxes": [1, 2, 3, 4]}, r"boxes of shape \(4,\)"),
    "texts": ({"boxes": [["1", "2", "3", "4"]]}, "boxes are numbers"),
    "ragged": ({"boxes": [[1, 2, 3, 4], [1, 2]]}, "boxes can't be read as numbers"),
    "supervision": ({"boxes": SimpleNamespace(xyxy=BOXES, class_id=None)}, r"GivenBoxes\.from_supervision"),
    "ultralytics": ({"boxes": SimpleNamespace(boxes=SimpleNamespace(xyxy=1))}, r"from_ultralytics"),
    "torchvision": ({"boxes": {"boxes": BOXES}}, r"GivenBoxes\.from_torchvision"),
    "coco": ({"boxes": [{"bbox": [1, 2, 3, 4]}]}, r"GivenBoxes\.from_coco"),
    "an unknown name": (
        {"boxes": BOXES, "classes": ["cup", "guitars", "persons"]},
        r"no class 'guitars' \(2 classes.*'guitar'",
    ),
    "an index": ({"boxes": BOXES, "classes": [0, 1, 6]}, "no class 6: its classes are 0 to 5"),
    "minus one": ({"boxes": BOXES, "classes": [0, 1, -1]}, "no class -1"),
    "a flag": ({"boxes": BOXES, "classes": [np.True_, 0, 1]}, "is no class"),
    "no class": ({"boxes": BOXES, "classes": [0, None, 1]}, "None is no class"),
    "bytes": ({"boxes": BOXES, "classes": [0, b"cup", 1]}, "b'cup' is no class"),
    "infinity": ({"boxes": BOXES, "classes": [0, np.inf, 1]}, "inf is no class"),
    "one class": ({"boxes": BOXES, "classes": 0}, "classes are one for each box, not 0"),
    "a generator": ({"boxes": (box for box in BOXES)}, "boxes are numbers, not generator"),
    "half a class": ({"boxes": BOXES, "classes": [0.5, 1, 2]}, "0.5 is no class"),
    "a text as classes": ({"boxes": BOXES, "classes": "cup"}, "one for each box, not 'cup'"),
    "too few classes": ({"boxes": BOXES, "classes": ["cup"]}, "3 boxes, but 1 classes"),
    "too few scores": ({"boxes": BOXES, "classes": [0, 1, 2], "scores": [1]}, "3 boxes, but 1 scores"),
    "scores without classes": ({"boxes": BOXES, "scores": [1, 1, 1]}, "give the classes too"),
    "per cent": ({"boxes": BOXES, "classes": [0, 1, 2], "scores": [0.5, 90, 1]}, "score of box 1 is 90"),
    "classes without boxes": ({"classes": [1]}, "give the boxes too"),
    "twice": ({"boxes": GivenBoxes(BOXES), "classes": [1, 1, 1]}, "GivenBoxes have their classes"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_BOXES)
def test_wrong_boxes(predictor: RelationPredictor, photo: np.ndarray, name: str) -> None:
    given, message = WRONG_BOXES[name]
    with pytest.raises(ValueError, match=message):
        predictor(photo, **given)


def test_lists_of_other_lengths(predictor: RelationPredictor, photo: np.ndarray) -> None:
    with pytest.raises(ValueError, match="2 images, but boxes for 1: give boxes for each image"):
        predictor([photo, photo], boxes=[BOXES])
    with pytest.raises(ValueError, match="image 1 of 2: boxes of shape"):
        predictor([photo, photo], boxes=[BOXES, [1, 2, 3]])


def test_requests_take_boxes_as_calls_do(predictor: RelationPredictor, photo: np.ndarray) -> None:
    (outcome,) = predictor.stream([Request(photo, BOXES.tolist())])
    assert outcome.prediction is not None
    assert values(outcome.prediction) == values(predictor(photo, boxes=BOXES))
    with pytest.raises(ValueError, match=r"'a\.png' is one image"):
        predictor.stream("a.png")


def test_some_images_have_boxes(predictor: RelationPredictor, photo: np.ndarray) -> None:
    requests = [photo, Request(photo, GivenBoxes(BOXES)), Request(photo)]
    found = {x.position: x.prediction for x in predictor.stream(requests, batch_size=8)}
    assert {position: prediction.task for position, prediction in found.items() if prediction} == {
        0: "sgdet",
        1: "sgcls",
        2: "sgdet",
    }


def test_boxes_of_other_detectors(predictor: RelationPredictor, photo: np.ndarray) -> None:
    names = {3: "cup", 7: "person", 9: "zebra"}
    labels, scores = np.array([3, 7, 9]), np.array([0.5, 0.75, 0.25])
    widths = BOXES[:, 2:] - BOXES[:, :2]
    results = [
        {"image_id": 1, "bbox": [*box[:2], *width], "category_id": int(label), "score": float(score)}
        for box, width, label, score in zip(BOXES, widths, labels, scores, strict=True)
    ]
    detections = SimpleNamespace(xyxy=BOXES, class_id=labels, confidence=scores, data={})
    named = SimpleNamespace(
        xyxy=BOXES, confidence=scores, data={"class_name": np.array(list(names.values()))}
    )
    yolo = SimpleNamespace(
        boxes=SimpleNamespace(
            xyxy=torch.tensor(BOXES), cls=torch.tensor(labels).float(), conf=torch.tensor(scores)
        ),
        names=names,
    )
    output = {"boxes": torch.tensor(BOXES), "labels": torch.tensor(labels), "scores": torch.tensor(scores)}
    for boxes in (
        GivenBoxes.from_coco(results, names),
        GivenBoxes.from_supervision(detections, names),
        GivenBoxes.from_supervision(named),
        GivenBoxes.from_ultralytics(yolo),
        GivenBoxes.from_torchvision(output, names),
    ):
        assert boxes.classes == ("cup", "person", "zebra")
        np.testing.assert_allclose(boxes.boxes, BOXES)
        np.testing.assert_allclose(boxes.scores, scores)
        with pytest.raises(ValueError, match=r"no class 'zebra'.*GivenBoxes\.only"):
            predictor(photo, boxes=boxes)
        found = predictor(photo, boxes=boxes.only(predictor.thing_classes))
        assert [entity.name for entity in found.entities] == ["cup", "person"]
    certain = [{key: record[key] for key in ("bbox", "category_id")} for record in results]
    assert GivenBoxes.from_coco(certain, names).scores is None
    assert len(GivenBoxes.from_coco([], names).boxes) == 0


def test_boxes_of_other_detectors_that_lack_something() -> None:
    record = {"bbox": [1, 2, 3, 4], "category_id": 5, "score": 0.5}
    with pytest.raises(ValueError, match="label 5 has no name among the 1"):
        GivenBoxes.from_coco([record], {1: "cup"})
    with pytest.raises(ValueError, match="record 1 of the COCO results has no 'score'"):
        GivenBoxes.from_coco([record, {"bbox": [1, 2, 3, 4], "category_id": 5}], {5: "cup"})
    with pytest.raises(ValueError, match="record 0 of the COCO results has no 'bbox'"):
        GivenBoxes.from_coco(["cup"], {5: "cup"})  # type: ignore[list-item]
    with pytest.raises(ValueError, match="record 0 of the COCO results has no 'score'"):
        GivenBoxes.from_coco([{"bbox": [1, 2, 3, 4], "category_id": 5}, record], {5: "cup"})
    with pytest.raises(ValueError, match="label -1 has no name"):
        GivenBoxes.from_coco([{**record, "category_id": -1}], ["cup"])
    with pytest.raises(ValueError, match="label None has no name"):
        GivenBoxes.from_coco([{**record, "category_id": None}], {5: "cup"})
    with pytest.raises(ValueError, match="has four numbers"):
        GivenBoxes.from_coco([{**record, "bbox": [1, 2, 3, 4, 5]}], {5: "cup"})
    with pytest.raises(ValueError, match="lacks labels, which torchvision"):
        GivenBoxes.from_torchvision({"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}, [])
    with pytest.raises(ValueError, match="has no boxes: give the result of a detector"):
        GivenBoxes.from_ultralytics(SimpleNamespace(boxes=None, names={}))
    nameless = SimpleNamespace(xyxy=BOXES, class_id=np.array([1, 2, 3]), confidence=None, data={})
    with pytest.raises(ValueError, match="no names of classes"):
        GivenBoxes.from_supervision(nameless)
    with pytest.raises(ValueError, match="only boxes whose classes are names"):
        GivenBoxes(BOXES, [1, 2, 3]).only(["cup"])


def test_a_detector_of_torchvision(predictor: RelationPredictor, photo: np.ndarray) -> None:
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    torch.manual_seed(0)
    detector = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=7, box_score_thresh=0.0, box_detections_per_img=4
    ).eval()
    with torch.no_grad():
        (output,) = detector([torch.from_numpy(photo[..., ::-1] / np.float32(255)).permute(2, 0, 1)])
    found = predictor(photo, boxes=GivenBoxes.from_torchvision(output, ["", *predictor.thing_classes]))
    assert len(found.entities) == len(output["boxes"]) > 0
    np.testing.assert_allclose(boxes_of(found), output["boxes"], rtol=1e-4, atol=1e-3)


# -------------------------------------------------------------------------------------------------- result


def test_a_result_says_what_its_tensors_say(predictor: RelationPredictor, photo: np.ndarray) -> None:
    found = predictor(photo)
    entities, relations = found["instances"], found["relations"]
    assert isinstance(found, dict) and set(found) == {"instances", "relations", "task"}
    assert [entity.class_index for entity in found.entities] == entities.pred_classes.tolist()
    assert [list(entity.box) for entity in found.entities] == entities.pred_boxes.tensor.tolist()
    best = relations[relations.rank_in_pair == 1]
    assert len(found.relationships) == len(best) > 0
    for row, relationship in enumerate(found.relationships):
        assert relationship.subject == found.entities[int(best.subject_index[row])]
        assert relationship.object == found.entities[int(best.object_index[row])]
        assert relationship.predicate == predictor.predicate_classes[int(best.pred_predicates[row])]
        assert relationship.score == float(best.scores[row])
        parts = relationship.subject_score * relationship.object_score * relationship.predicate_score
        assert relationship.score == pytest.approx(parts, rel=1e-5)
        assert 0 <= relationship.predicate_score <= 1
    all_predicates = found.best(predicates_per_pair=7)
    assert len(all_predicates) == min(len(relations), 100) > len(best)
    assert found.best(3) == found.relationships[:3]
    middle = found.relationships[len(best) // 2].score
    assert all(x.score >= middle for x in found.best(score_threshold=middle))
    first = found.relationships[0]
    ends = [f"{entity.name} {entity.index}" for entity in (first.subject, first.object)]
    assert str(first) == f"{ends[0]} {first.predicate} {ends[1]} ({first.score:.2f})"
    for threshold in (-0.1, 2, float("nan")):
        with pytest.raises(ValueError, match=r"score_threshold is .*: use 0 to 1"):
            found.best(score_threshold=threshold)
    assert str(first) in repr(found)


def test_a_head_that_does_not_say_the_score_of_predicates(
    predictor: RelationPredictor, photo: np.ndarray
) -> None:
    found = predictor(photo)
    expected = [x.predicate_score for x in found.relationships]
    other = Prediction(
        {**found, "relations": without(found["relations"], "predicate_scores")},
        thing_classes=predictor.thing_classes, predicate_classes=predictor.predicate_classes, source=photo,
    )  # fmt: skip
    assert [x.predicate_score for x in other.relationships] == pytest.approx(expected, rel=1e-4)
    assert not any("predicate_score" in x for x in other.to_dict()["relationships"])
    assert not any("predicate_score" in data for *_, data in other.to_networkx().edges(data=True))


def without(instances: Instances, name: str) -> Instances:
    fields = {key: value for key, value in instances.get_fields().items() if key != name}
    return Instances(instances.image_size, **fields)


def test_plain_data_and_graphs(predictor: RelationPredictor, photo: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "my photo.png"), photo)
    found = predictor(tmp_path / "my photo.png")
    plain = found.to_dict(top_k=5)
    assert json.loads(json.dumps(plain)) == plain
    assert plain["image"] == {"file_name": "my photo.png", "width": 200, "height": 120}
    assert len(plain["relationships"]) == 5
    graph = found.to_networkx(top_k=5)
    assert [graph.nodes[x["id"]]["name"] for x in plain["entities"]] == [
        x["class"] for x in plain["entities"]
    ]
    edges = {(u, v, key): data["score"] for u, v, key, data in graph.edges(keys=True, data=True)}
    assert edges == {(x["subject"], x["object"], x["predicate"]): x["score"] for x in plain["relationships"]}
    of_predicates = {(u, v, key): x["predicate_score"] for u, v, key, x in graph.edges(keys=True, data=True)}
    assert of_predicates == {
        (x.subject.index, x.object.index, x.predicate): x.predicate_score for x in found.best(5)
    }
    with pytest.raises(ValueError, match="top_k is 0"):
        found.to_dict(top_k=0)


def test_drawings(predictor: RelationPredictor, photo: np.ndarray, tmp_path: Path) -> None:
    drawings = [
        predictor(image, **options).draw(3, score_threshold=0)
        for image, options in same_picture(photo, tmp_path).values()
    ]
    assert all(np.array_equal(drawing, drawings[0]) for drawing in drawings[1:])
    # A list of what finds no place makes it higher.
    assert drawings[0].shape[0] >= 480 and drawings[0].shape[1:] == (800, 3)


def test_thresholds_of_a_drawing(
    predictor: RelationPredictor, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, seen = predictor(photo), []

    def draw(image: np.ndarray, graph: dict[str, Any], **options: object) -> np.ndarray:
        seen.append((len(graph["entities"]), len(graph["relationships"]), options))
        return image

    monkeypatch.setattr(visualization, "draw_scene_graph", draw)
    found.draw()
    found.draw(3, score_threshold=0.4, entity_threshold=0.5, entities="all", scores=False)
    # The drawing gets the whole graph, so that names do not depend on what is shown.
    assert [seen[0][:2], seen[1][:2]] == [(len(found.entities), len(found.relationships))] * 2
    usual = {"top_n": 10, "score_threshold": 0.1, "entity_threshold": 0.0}
    assert seen[0][2] == {**usual, "entities": "related", "scores": True}
    assert list(seen[1][2].values()) == [3, 0.4, 0.5, "all", False]


def test_a_picture_that_has_changed_is_not_drawn_on(
    predictor: RelationPredictor, photo: np.ndarray, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    found = predictor(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "a.png"), photo[:50, :60])
    with pytest.raises(ValueError, match=r"a\.png has 60 x 50 pixels now, and had 200 x 120"):
        found.draw()


def test_a_result_in_a_notebook(scenes_tiny: RelationPredictor) -> None:
    sample = zoo_entry("scenes-tiny").sample
    assert sample is not None
    found = scenes_tiny(sample)
    page, shown = found._repr_html_(), found.to_dict(top_k=10, score_threshold=0.1)["relationships"]
    assert page.count("<tr>") == 1 + len(shown) > 2 and "data:image/jpeg;base64," in page
    assert f"the best {len(shown)} relationships" in page
    found.source = "gone.png"
    page = found._repr_html_()
    assert page.count("<tr>") == 1 + len(shown) and "<img" not in page
    found.thing_classes = tuple(f"<script>{name}" for name in scenes_tiny.thing_classes)
    assert "<script>" not in found._repr_html_() and "&lt;script&gt;" in found._repr_html_()


def test_a_result_can_be_pickled(predictor: RelationPredictor, photo: np.ndarray) -> None:
    found = predictor(photo)
    again = pickle.loads(pickle.dumps(found))
    assert values(again) == values(found) and again.relationships == found.relationships


def test_the_models_task_does_not_matter(predictor: RelationPredictor, photo: np.ndarray) -> None:
    cfg = predictor.parts.cfg.clone()
    cfg.defrost()
    cfg.MODEL.ROI_RELATION_HEAD.TEST.TASK = "prdcls"
    assert values(RelationPredictor(cfg)(photo)) == values(predictor(photo))


def test_threads_that_read_ahead_change_no_answer(scenes_tiny: RelationPredictor, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images: list[Any] = [
        random.integers(0, 255, ((48, 64, 3), (64, 48, 3))[number % 3 == 0], dtype=np.uint8)
        for number in range(7)
    ]
    images[4] = tmp_path / "gone.png"
    found, expected = (
        {x.position: x for x in scenes_tiny.stream(images, batch_size=2, readers=readers)}
        for readers in (3, 0)
    )
    assert found.keys() == expected.keys() and found[4].error is not None
    for position in found.keys() - {4}:
        one, other = found[position].prediction, expected[position].prediction
        assert one is not None and other is not None and one.to_dict() == other.to_dict()
