"""Label Studio's JSON export as a data set."""

import copy
import json
import logging
import math
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from reldn_d2.data import load_label_studio, register_label_studio
from reldn_d2.data.datasets.label_studio_export import COUNTED, Counts, read_export
from reldn_d2.utils.refusals import collected
from tests.builders.label_studio_files import (
    HEIGHT,
    WIDTH,
    annotation,
    picture,
    region,
    relation,
    task,
    write_export,
)

NAME = "test_label_studio"
A, B = (10, 20, 30, 40), (50, 10, 20, 80)
IN_PIXELS = [[20, 20, 80, 60], [100, 10, 140, 90]]
PAIR = (region("a", "cup", A), region("b", "person", B))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    picture(tmp_path / "photos" / "one.png")
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def forget() -> Any:
    yield
    if NAME in DatasetCatalog:
        DatasetCatalog.remove(NAME)
    MetadataCatalog.pop(NAME, None)


def load(photos: Path, *tasks: Any, **options: Any) -> list[dict[str, Any]]:
    return load_label_studio(write_export(photos.parent, *tasks), photos, **options)


def counted(photos: Path, *tasks: Any, **options: Any) -> dict[str, int]:
    """What is counted, without what loading pictures adds."""
    _, counts = read_export(write_export(photos.parent, *tasks), **options)
    return dict(counts.numbers)


def said(caplog: pytest.LogCaptureFixture) -> str:
    (line,) = [x.getMessage() for x in caplog.records if x.name.endswith("datasets.label_studio_export")]
    return line


def triplets(record: dict[str, Any]) -> list[list[int]]:
    return np.asarray(record["relations"]).tolist()


def refused(photos: Path, *tasks: Any, **options: Any) -> str:
    with pytest.raises(ValueError, match=r"export\.json") as error:
        load(photos, *tasks, **options)
    return str(error.value)


def test_boxes_labels_and_relations(photos: Path) -> None:
    (found,) = load(photos, task(7, annotation(*PAIR, relation("b", "a", "holds"))))
    assert (found["image_id"], found["width"], found["height"]) == (7, WIDTH, HEIGHT)
    assert found["file_name"] == str(photos / "one.png")
    np.testing.assert_allclose(found["annotations"].boxes, IN_PIXELS, rtol=0, atol=1e-9)
    assert found["annotations"].classes.tolist() == [0, 1]
    assert triplets(found) == [[1, 0, 0]]


def test_any_box_comes_back_to_a_millionth_of_a_pixel(photos: Path) -> None:
    numbers = random.Random(5)
    boxes = []
    for _ in range(300):
        x0, y0 = numbers.uniform(0, WIDTH - 1), numbers.uniform(0, HEIGHT - 1)
        boxes.append([x0, y0, numbers.uniform(x0 + 0.1, WIDTH), numbers.uniform(y0 + 0.1, HEIGHT)])
    regions = [
        region(str(i), "cup", (x0 / 2, y0, (x1 - x0) / 2, y1 - y0))
        for i, (x0, y0, x1, y1) in enumerate(boxes)
    ]
    (found,) = load(photos, task(1, annotation(*regions)))
    np.testing.assert_allclose(found["annotations"].boxes, boxes, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("right", [[0, 1, 0]]),
        ("left", [[1, 0, 0]]),
        ("bi", [[0, 1, 0], [1, 0, 0]]),
        (None, [[0, 1, 0]]),
    ],
)
def test_directions(photos: Path, direction: str | None, expected: list[list[int]]) -> None:
    one = task(1, annotation(*PAIR, relation("a", "b", "on", direction=direction)))
    assert triplets(load(photos, one)[0]) == expected
    assert counted(photos, one) == ({f"{direction}_relations": 1} if direction in ("left", "bi") else {})


def test_relations_with_several_labels_and_without(photos: Path) -> None:
    several = relation("a", "b", "on", "near")
    without = [relation("a", "b"), {**relation("a", "b"), "labels": None}]
    bare = relation("b", "a")
    del bare["labels"], bare["direction"]
    one = task(1, annotation(*PAIR, several, *without, bare))
    assert triplets(load(photos, one)[0]) == [[0, 1, 1], [0, 1, 0]]
    assert counted(photos, one) == {"relations_of_several_labels": 1, "relations_without_label": 3}


def test_relations_without_an_end_or_with_the_label_null_are_counted(photos: Path) -> None:
    lost = {**relation("a", "b", "on"), "from_id": None}
    bare = relation("a", "b", "on")
    del bare["to_id"]
    null = {**relation("a", "b"), "labels": [None]}
    one = task(1, annotation(*PAIR, lost, bare, null, relation("b", "a", "on")))
    assert triplets(load(photos, one)[0]) == [[1, 0, 0]]
    assert counted(photos, one) == {"relations_to_missing": 2, "relations_without_label": 1}


def test_both_ways_of_a_box_with_itself_are_one(photos: Path) -> None:
    two = region("a", "cup", A)
    two["value"]["rectanglelabels"].append("person")
    one = task(1, annotation(two, relation("a", "a", "on", direction="bi")))
    assert triplets(load(photos, one)[0]) == [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]]


def test_what_is_no_box_is_left_out_with_its_relations(photos: Path) -> None:
    polygon = {
        **region("p", None),
        "type": "polygonlabels",
        "value": {"points": [[1, 1], [5, 5], [1, 9]], "polygonlabels": ["cup"]},
    }
    brush = {**region("r", None), "type": "brushlabels"}
    brush["value"] = {"format": "rle", "rle": [0, 1], "brushlabels": ["cup"]}
    choice = {
        "id": "c",
        "type": "choices",
        "from_name": "c",
        "to_name": "img",
        "value": {"choices": ["indoor"]},
    }
    text = {
        "id": "a",
        "type": "textarea",
        "from_name": "t",
        "to_name": "img",
        "value": {"text": ["of a box"]},
    }
    nameless = region("n", None)
    relations = [relation("a", "b", "on"), relation("p", "a", "on"), relation("b", "n", "on")]
    lost = relation("a", "gone", "on")
    one = task(1, annotation(*PAIR, polygon, brush, choice, text, nameless, *relations, lost))
    (found,) = load(photos, one)
    assert len(found["annotations"]) == 2
    assert triplets(found) == [[0, 1, 0]]
    assert counted(photos, one) == {
        "other_results": 4,
        "boxes_without_label": 1,
        "relations_to_left_out": 2,
        "relations_to_missing": 1,
    }


def test_a_rectangle_and_its_labels_are_one_box(photos: Path) -> None:
    box = region("a", None, A, type="rectangle", from_name="rect")
    labels = region("a", None, A, type="labels")
    labels["value"]["labels"] = ["cup"]
    bare = {
        "id": "b",
        "type": "labels",
        "from_name": "tag",
        "to_name": "img",
        "value": {"labels": ["person"]},
    }
    other = region("b", None, B, type="rectangle", from_name="rect")
    (found,) = load(photos, task(1, annotation(labels, box, bare, other, relation("a", "b", "on"))))
    np.testing.assert_allclose(found["annotations"].boxes, IN_PIXELS)
    assert found["annotations"].classes.tolist() == [0, 1]
    assert triplets(found) == [[0, 1, 0]]


def test_a_box_with_several_labels_is_several_entities(photos: Path) -> None:
    both = region("a", "cup", A)
    both["value"]["rectanglelabels"].append("person")
    one = task(1, annotation(both, region("b", "table", B), relation("a", "b", "on")))
    (found,) = load(photos, one)
    assert found["annotations"].classes.tolist() == [0, 1, 2]
    assert triplets(found) == [[0, 2, 0], [1, 2, 0]]
    assert counted(photos, one) == {"boxes_of_several_labels": 1}


def test_tasks_without_an_id_get_one_that_no_other_task_has(photos: Path) -> None:
    bare = task(0, annotation(*PAIR))
    del bare["id"]
    tasks = [task(2, annotation(*PAIR)), bare, bare]
    assert [found["image_id"] for found in load(photos, *tasks)] == [2, 4, 5]
    assert [found["image_id"] for found in load(photos, bare, bare)] == [1, 2]
    assert "task 2: this id occurs twice" in refused(photos, tasks[0], tasks[0])
    wrong = {**bare, "annotations": 3}
    assert "export.json: task number 2 of the file: 'annotations' is 3" in refused(photos, tasks[0], wrong)


@pytest.mark.parametrize("box", [(60, 50, -10, 10, 0), (50, 60, 10, -10, 0)])
def test_a_box_of_a_negative_size_is_counted(photos: Path, box: tuple[float, ...]) -> None:
    one = task(1, annotation(region("a", "cup", box)))
    np.testing.assert_allclose(load(photos, one)[0]["annotations"].boxes, [[100, 50, 120, 60]])
    assert counted(photos, one) == {"mirrored_boxes": 1}


@pytest.mark.parametrize("rotation", [17.5, 90, 200, -30, 359])
def test_a_rotated_box_becomes_the_upright_box_around_it(photos: Path, rotation: float) -> None:
    """Rotated clockwise around the upper left corner, in pixels and not in per cent."""
    one = task(1, annotation(region("a", "cup", (50, 50, 10, 10, rotation))))
    (found,) = load(photos, one)
    angle = math.radians(rotation)
    corners = [
        (100 + a * math.cos(angle) - b * math.sin(angle), 50 + a * math.sin(angle) + b * math.cos(angle))
        for a, b in ((0, 0), (20, 0), (0, 10), (20, 10))
    ]
    expected = [*np.min(corners, axis=0), *np.max(corners, axis=0)]
    np.testing.assert_allclose(found["annotations"].boxes, [expected], atol=1e-9)
    assert counted(photos, one) == {"rotated_boxes": 1}


def test_boxes_that_reach_out_are_clipped_and_those_without_area_left_out(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flipped = region("f", "cup", (40, 60, -30, -40))
    outside = [region("x", "cup", (110, 0, 10, 10)), region("y", "cup", (10, 10, 0, 5))]
    clipped = region("c", "cup", (-5, 50, 20, 60))
    rounding = region("r", "cup", (60, 0, 40.0000000001, 100))
    relations = [relation("f", "c", "on"), relation("x", "f", "on")]
    with caplog.at_level(logging.INFO):
        (found,) = load(
            photos, task(9, annotation(outside[0], flipped, clipped, outside[1], rounding, *relations))
        )
    np.testing.assert_allclose(
        found["annotations"].boxes, [[20, 20, 80, 60], [0, 50, 30, 100], [120, 0, 200, 100]]
    )
    assert found["annotations"].boxes.max() == WIDTH
    assert triplets(found) == [[0, 1, 0]]
    line = said(caplog)
    assert "boxes that reach out of the image, clipped: 1 (first in task 9)" in line
    assert "boxes without an area in the image, left out: 2 (first in task 9)" in line
    assert "relations to a region that was left out, left out: 1 (first in task 9)" in line


def test_of_several_annotations_the_true_one_or_the_latest_is_taken(photos: Path) -> None:
    def by(person: Any, label: str, day: int, **more: Any) -> dict[str, Any]:
        time = f"2026-03-{day:02}T22:16:08Z"
        return annotation(region("a", label), completed_by=person, updated_at=time, **more)

    anna = {"id": 5, "email": "anna@example.com", "first_name": "", "last_name": ""}
    tasks = [
        task(1, by(anna, "late", 9), by(2, "early", 3)),
        task(2, by(2, "true", 1, ground_truth=True), by(2, "late", 9)),
        task(3, by(2, "early", 3), by(2, "cancelled", 9, was_cancelled=True)),
    ]
    names = ["late", "early", "true"]

    def labels(**options: Any) -> list[tuple[int, str]]:
        found = load(photos, *tasks, thing_classes=names, **options)
        return [(x["image_id"], names[int(x["annotations"].classes[0])]) for x in found]

    assert labels() == [(1, "late"), (2, "true"), (3, "early")]
    assert labels(annotator="anna@example.com") == labels(annotator=5) == [(1, "late")]
    assert labels(annotator="2") == [(1, "early"), (2, "true"), (3, "early")]
    assert counted(photos, *tasks) == {"several_annotations": 2}
    assert counted(photos, *tasks, annotator=5)["tasks_of_others"] == 2
    assert "Did you mean 'anna@example.com'?" in refused(photos, *tasks, annotator="ana@example.com")


def test_skipped_tasks_and_predictions_are_no_truth(photos: Path) -> None:
    predicted = {"model_version": "m", "result": [region("a", "cup")]}
    tasks = [
        task(1, annotation(was_cancelled=True)),
        task(2, predictions=[predicted]),
        task(3, annotation()),
        task(4, predictions=[17]),
    ]
    (found,) = load(photos, *tasks)
    assert found["image_id"] == 3
    assert len(found["annotations"]) == len(found["relations"]) == 0
    assert counted(photos, *tasks) == {"skipped_tasks": 1, "tasks_without_annotation": 2}
    message = refused(photos, *tasks[:2])
    assert "no task has an annotation of an image" in message
    assert "Submit annotations" in message


def test_files_of_versions_before_1_0(photos: Path) -> None:
    old = {
        "id": 1601,
        "created_at": 1598452301,
        "lead_time": 11.2,
        "result": [*PAIR, relation("a", "b", "on")],
    }
    older = {**old, "created_at": 1598450000, "result": []}
    skipped = {**old, "created_at": 1598459999, "skipped": True, "was_cancelled": True, "result": []}
    one = {"id": 0, "data": {"image": "/data/one.png"}, "completions": [old, older, skipped]}
    (found,) = load(photos, one)
    assert found["image_id"] == 0
    assert triplets(found) == [[0, 1, 0]]


def test_a_turned_view_changes_no_box(photos: Path) -> None:
    regions = [{**x, "image_rotation": 90} for x in PAIR]
    one = task(1, annotation(*regions))
    np.testing.assert_allclose(load(photos, one)[0]["annotations"].boxes, IN_PIXELS)
    assert counted(photos, one) == {"turned_views": 1}


def test_what_a_data_set_does_not_need_is_not_checked(photos: Path) -> None:
    """Exports of other programs hold scores as texts, sizes of smaller copies, and times of their own."""
    regions = [{**PAIR[0], "score": "0.9"}, {**PAIR[1], "original_width": 101, "original_height": 50}]
    odd = annotation(*regions, relation("a", "b", "on", meta=["x"]), updated_at="yesterday")
    (found,) = load(photos, task(1, odd, meta="none", drafts=3, predictions=None))
    np.testing.assert_allclose(found["annotations"].boxes, IN_PIXELS)
    assert triplets(found) == [[0, 1, 0]]


def test_the_picture_says_the_size_and_other_shapes_are_refused(photos: Path) -> None:
    picture(photos / "large.png", (2 * WIDTH, 2 * HEIGHT))
    bare = {key: value for key, value in PAIR[0].items() if not key.startswith("original")}
    tasks = [task(1, annotation(*PAIR), image="large.png"), task(2, annotation(bare))]
    large, one = load(photos, *tasks)
    assert (large["width"], large["height"], one["width"]) == (2 * WIDTH, 2 * HEIGHT, WIDTH)
    np.testing.assert_allclose(large["annotations"].boxes, 2 * np.array(IN_PIXELS))
    image = Image.new("RGB", (WIDTH, HEIGHT))
    exif = image.getexif()
    exif[274] = 6
    image.save(photos / "turned.jpg", exif=exif)
    message = refused(photos, *tasks, task(5, annotation(*PAIR), image="turned.jpg"))
    assert "task 5" in message
    assert "has 100 x 200 pixels, and the file says 200 x 100; the sides are exchanged" in message
    assert "1 of 3 tasks" in message


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("one.png", "one.png"),
        ("/data/local-files/?d=photos/sub/a%20%2B%20b.png", "sub/a + b.png"),
        ("/data/local-files/?d=photos%5Csub%5Ca%20%2B%20b.png", "sub/a + b.png"),
        ("/data/upload/3/1a2b3c4d-one.png", "one.png"),
        ("/data/upload/3/1a2b3c4d-other.png", "1a2b3c4d-other.png"),
        ("https://host.example/files/sub/a%20%2B%20b.png?X-Signature=abc%2F", "sub/a + b.png"),
        ("s3://bucket/deep/one.png", "one.png"),
        ("100% #1?.png", "100% #1?.png"),
        ("gs://bucket/anything/alone.png", "sub/deep/alone.png"),
        ("../../photos/one.png", "one.png"),
        ("/etc/../photos/one.png", "one.png"),
        ("C:\\photos\\one.png", "one.png"),
        ("http://[broken/one.png", "one.png"),
        ("/data/local-files/?d=photos/plus+one.png", "plus+one.png"),
        ("/data/local-files/?d=photos/plus+one&two#3.png", "plus+one&two#3.png"),
        ("s3://bucket/my photo #1.png", "my photo #1.png"),
        ("/tasks/28/presign/?fileuri=czM6Ly9idWNrZXQvb25lLnBuZw==", "one.png"),
        ("/data/local-files/?d=photos/cafe%CC%81.png", "caf\u00e9.png"),
        ("/data/upload/3/1a2b3c4d-my_photo_1.png", "my photo #1.png"),
        ("/data/upload/sub/1a2b3c4d-one.png", "one.png"),
        ("https://host.example/test/first.png", "first.png"),
    ],
)
def test_the_picture_of_an_address(photos: Path, address: str, file: str) -> None:
    for name in (
        *("sub/a + b.png", "1a2b3c4d-other.png", "other.png", "100% #1?.png", "sub/deep/alone.png"),
        *("plus+one.png", "plus+one&two#3.png", "my photo #1.png", "caf\u00e9.png", "first.png"),
    ):
        picture(photos / name)
    (found,) = load(photos, task(1, annotation(*PAIR), image=address))
    assert found["file_name"] == str(photos / file)


def test_pictures_that_are_missing_or_not_clear(photos: Path) -> None:
    picture(photos.parent / "secret.png")
    lost = [
        task(i, annotation(*PAIR), image=name)
        for i, name in enumerate(("../secret.png", "x/none.png"), start=2)
    ]
    tasks = [task(1, annotation(*PAIR)), *lost]
    with pytest.raises(FileNotFoundError, match=r"export\.json: task 2: .* 2 of 3 .*image_root.* task 3\."):
        load(photos, *tasks)
    assert [x["image_id"] for x in load(photos, *tasks, skip_missing_images=True)] == [1]
    for folder in ("a", "b"):
        picture(photos / folder / "twice.png")
    message = refused(photos, task(1, annotation(*PAIR), image="s3://bucket/c/twice.png"))
    assert "task 1: the image 's3://bucket/c/twice.png' may be a/twice.png or b/twice.png" in message
    (found,) = load(photos, task(1, annotation(*PAIR), image="s3://bucket/b/twice.png"))
    assert found["file_name"] == str(photos / "b" / "twice.png")
    uploads = [task(i, annotation(*PAIR), image=f"/data/upload/3/1a2b3c4{i}-one.png") for i in (1, 2)]
    assert "are both found as one.png" in refused(photos, *uploads)
    spellings = [
        task(i, annotation(*PAIR), image=image)
        for i, image in enumerate(("s3://b/photos/one.png", "one.png"))
    ]
    assert [Path(x["file_name"]).name for x in load(photos, *spellings)] == ["one.png"] * 2
    with pytest.raises(FileNotFoundError, match="no image folder"):
        load(photos.parent / "none", task(1, annotation(*PAIR)))


def test_a_picture_of_another_folder_is_not_taken_for_one_that_is_missing(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(photos / "train" / "1.png")
    elsewhere = task(1, annotation(*PAIR), image="https://host.example/any/1.png")
    with caplog.at_level(logging.INFO):
        (found,) = load(photos, elsewhere)
    assert found["file_name"] == str(photos / "train" / "1.png")
    assert "pictures that were found in another folder than their address says: 1" in said(caplog)
    (photos / "test").mkdir()
    assert len(load(photos, elsewhere)) == 1
    for image in ("https://host.example/test/1.png", "test/one.png"):
        with pytest.raises(FileNotFoundError, match="this concerns 1 of 1 tasks"):
            load(photos, task(1, annotation(*PAIR), image=image))


@pytest.mark.parametrize(
    ("address", "file", "other"),
    [
        ("s3://bucket/siteB/cam1/0001.png", "siteA/cam1/0001.png", True),
        ("https://host.example/2023/05/01/cam/0001.png", "2024/05/01/cam/0001.png", True),
        ("/data/upload/12/1a2b3c4d-0001.png", "train/0001.png", True),
        ("/data/upload/12/1a2b3c4d-a1.png", "train/a#1.png", True),
        ("/data/upload/12/1a2b3c4d-a1.png", "a#1.png", False),
        ("0001.png", "train/0001.png", True),
        ("s3://bucket/deep/siteA/cam1/0001.png", "siteA/cam1/0001.png", False),
        ("s3://bucket/deep/0001.png", "0001.png", False),
        ("https://host.example/serve?file=sub/0001.png", "sub/0001.png", False),
        ("https://host.example/serve?id=7&name=0001.png", "0001.png", False),
    ],
)
def test_a_picture_whose_address_does_not_end_in_its_whole_path_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, address: str, file: str, other: bool
) -> None:
    picture(tmp_path / "photos" / file)
    with caplog.at_level(logging.INFO):
        (found,) = load(tmp_path / "photos", task(1, annotation(*PAIR), image=address))
    assert found["file_name"] == str(tmp_path / "photos" / file)
    assert ("found in another folder than their address says: 1" in said(caplog)) == other


@pytest.mark.parametrize("address", ["x" * 300 + ".png", "data:image/png;base64,/" + "AAAA/" * 20_000])
def test_texts_that_are_no_address_are_missing_pictures(photos: Path, address: str) -> None:
    tasks = [task(1, annotation(*PAIR)), task(2, annotation(*PAIR), image=address)]
    assert [x["image_id"] for x in load(photos, *tasks, skip_missing_images=True)] == [1]
    with pytest.raises(FileNotFoundError, match=r"export\.json: task 2: the image") as error:
        load(photos, *tasks)
    assert len(str(error.value)) < 700
    assert ("must be saved as a file" in str(error.value)) == address.startswith("data:")


def test_names_that_are_read_as_other_folders_are_named_at_the_task(photos: Path) -> None:
    picture(photos / "~t.png")
    message = refused(photos, task(6, annotation(*PAIR), image="~t.png"))
    assert "task 6: the name of the image '~t.png'" in message and "Rename it" in message


def test_the_key_of_the_image(photos: Path) -> None:
    data = {"photo": "one.png", "text": "a cup", "thumbnail": "small.png"}
    one = {**task(1, annotation(*PAIR)), "data": data}
    message = refused(photos, one)
    assert "2 values that look like a picture" in message
    assert "image_key" in message
    assert load(photos, one, image_key="photo")[0]["file_name"] == str(photos / "one.png")
    by_source = {**one, "annotations": [annotation({**PAIR[0], "source": "$photo"})]}
    by_name = {**one, "annotations": [annotation({**PAIR[0], "to_name": "photo"})]}
    for clear in (by_source, by_name):
        assert load(photos, clear)[0]["file_name"] == str(photos / "one.png")
    assert load(photos, {**one, "data": {"images": ["one.png"]}})[0]["file_name"] == str(photos / "one.png")
    assert "several images" in refused(photos, {**one, "data": {"images": ["one.png", "two.png"]}})
    paged = {**one, "annotations": [annotation({**PAIR[0], "item_index": 1})], "data": {"photo": "one.png"}}
    assert "task 1, region 'a': the task has several images" in refused(photos, paged)


def pairwise(*relations: Any, tags: tuple[str, str] = ("image", "image2"), **more: Any) -> dict[str, Any]:
    """Two pictures side by side, with a box on each."""
    boxes = [{**box, "to_name": tag} for box, tag in zip(PAIR, tags, strict=True)]
    data = {"image": "one.png", "image2": "two.png"}
    return {**task(1, annotation(*boxes, *relations)), "data": data, **more}


def test_boxes_of_a_second_picture_do_not_go_onto_the_first(photos: Path) -> None:
    picture(photos / "two.png")
    one = pairwise(relation("a", "b", "same"))
    message = refused(photos, one)
    assert "task 1: the task has several images, with boxes on 'image', 'image2'" in message
    assert "--image-key" in message
    for key, kept, name in (("image", 0, "one.png"), ("image2", 1, "two.png")):
        (found,) = load(photos, one, image_key=key)
        assert found["file_name"] == str(photos / name)
        np.testing.assert_allclose(found["annotations"].boxes, [IN_PIXELS[kept]])
        assert triplets(found) == []
        assert counted(photos, one, image_key=key) == {"boxes_of_other_images": 1, "relations_to_left_out": 1}
    # A task whose boxes are all on the other one, as its neighbour shows.
    second = {**pairwise(tags=("image2", "image2")), "id": 2}
    assert [len(x["annotations"]) for x in load(photos, one, second, image_key="image")] == [1, 0]
    (found,) = load(photos, second)
    assert (found["file_name"], len(found["annotations"])) == (str(photos / "two.png"), 2)


def test_boxes_on_several_tags_that_no_key_tells_apart_are_refused(photos: Path) -> None:
    unclear = pairwise(tags=("left", "right"))
    for options in ({}, {"image_key": "image"}):
        assert "several images, with boxes on 'left', 'right'. Make a task for" in refused(
            photos, unclear, **options
        )
    # Two tags that show the only picture.
    (found,) = load(photos, {**unclear, "data": {"image": "one.png"}})
    assert len(found["annotations"]) == 2


def test_a_tag_with_the_name_of_another_key(photos: Path) -> None:
    """`<Image name="image" value="$url"/>` with an id under `image`."""
    picture(photos / "two.png")
    boxes = [{**box, "to_name": "image"} for box in PAIR]
    for other in ("12345", 12345):
        one = {**task(1, annotation(*boxes)), "data": {"image": other, "url": "https://h/one.png"}}
        assert load(photos, one)[0]["file_name"] == str(photos / "one.png")
    # What looks like a picture, or may be an address, is the image.
    for address in ("two.png", "https://h/two"):
        one["data"] = {"image": address, "url": "https://h/one.png"}
        if address == "two.png":
            assert load(photos, one)[0]["file_name"] == str(photos / "two.png")
        else:
            with pytest.raises(FileNotFoundError, match=r"name its key .*--image-key\): \['image', 'url'\]"):
                load(photos, one)
        assert load(photos, one, image_key="url")[0]["file_name"] == str(photos / "one.png")


def test_texts_without_boxes_are_no_images(photos: Path) -> None:
    data: list[dict[str, Any]] = [
        {"text": "\u4eca\u65e5\u306f\u5929\u6c17\u304c\u3044\u3044\u3067\u3059\u3002"},
        {"text": "Hello"}, {"pdf": "https://x/doc.pdf"}, {"image": "Hello you"}, {"d": [{"author": "x"}]},
    ]  # fmt: skip
    texts = [{**task(i, annotation()), "data": x} for i, x in enumerate(data, start=2)]
    (found,) = load(photos, task(1, annotation(*PAIR)), *texts)
    assert found["image_id"] == 1
    assert counted(photos, task(1, annotation(*PAIR)), *texts) == {"tasks_without_image": len(data)}
    assert "no task has an annotation of an image" in refused(photos, *texts[:2])
    assert "--image-key" in refused(photos, *texts[:2])


def test_an_address_without_an_ending_is_an_image_under_the_key_of_the_other_tasks(photos: Path) -> None:
    (photos / "plain").write_bytes((photos / "one.png").read_bytes())
    empty = {**task(2, annotation()), "data": {"photo": "https://h/plain"}}
    boxed = {**task(1, annotation(*PAIR)), "data": {"photo": "https://h/one.png"}}
    assert [x["image_id"] for x in load(photos, boxed, empty)] == [1, 2]
    assert [x["image_id"] for x in load(photos, empty, image_key="photo")] == [2]
    assert "no task has an annotation of an image" in refused(photos, empty)


def test_classes_that_the_vocabulary_lacks_are_refused_with_near_names(photos: Path) -> None:
    tasks = [task(1, annotation(*PAIR, relation("a", "b", "hold")))]
    message = refused(photos, *tasks, thing_classes=["cups", "person"], predicate_classes=["hold"])
    assert "the vocabulary has no class 'cup' (similar: 'cups')" in message
    message = refused(photos, *tasks, thing_classes=["cup", "person"], predicate_classes=["holds", "on"])
    assert "no predicate 'hold' (similar: 'holds')" in message
    (found,) = load(photos, *tasks, thing_classes=["x", "person", "cup"], predicate_classes=["on", "hold"])
    assert found["annotations"].classes.tolist() == [2, 1]
    assert triplets(found) == [[0, 1, 1]]


def test_registration(photos: Path) -> None:
    file = write_export(photos.parent, task(1, annotation(*PAIR, relation("a", "b", "on", direction="left"))))
    register_label_studio(NAME, {}, file, photos)
    register_label_studio(NAME, {}, file, photos)
    assert len(DatasetCatalog.get(NAME)) == len(DatasetCatalog.get(NAME)) == 1
    metadata = MetadataCatalog.get(NAME)
    assert (metadata.thing_classes, metadata.predicate_classes) == (["cup", "person"], ["on"])
    assert metadata.evaluator_type == "relation"
    with pytest.raises(ValueError, match="registered already"):
        register_label_studio(NAME, {}, file, photos, annotator=3)
    write_export(photos.parent, task(1, annotation(*PAIR)))
    with pytest.raises(ValueError, match="its predicate_classes are"):
        DatasetCatalog.get(NAME)


def test_registration_with_the_classes_of_another_data_set(photos: Path) -> None:
    file = write_export(photos.parent, task(1, annotation(*PAIR)))
    classes = {"thing_classes": ["person", "table", "cup"], "predicate_classes": ["on"]}
    register_label_studio(NAME, classes, file, photos)
    assert MetadataCatalog.get(NAME).thing_classes == ["person", "table", "cup"]
    assert DatasetCatalog.get(NAME)[0]["annotations"].classes.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([{"id": 1, "image": "one.png", "label": [{"x": 1}], "annotator": 1}], "JSON-MIN"),
        ({"images": [], "annotations": [], "categories": []}, "COCO"),
        ({"tasks": []}, "inside 'tasks'"),
        (task(1, annotation()), "a single task"),
        ({"graphs": []}, "no list of tasks"),
        ([], "holds no task"),
        ("text", "no list of tasks"),
        ([task(1, annotation()), 3], "number 2 of the file"),
    ],
)
def test_files_of_other_kinds_are_refused_with_the_remedy(photos: Path, content: Any, problem: str) -> None:
    path = photos.parent / "export.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=problem) as error:
        load_label_studio(path, photos)
    assert "xport" in str(error.value).replace("export.json", "")


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (json.dumps([task(1)]).encode("utf-16"), "UTF-16, as PowerShell writes it"),
        (b"\n".join([json.dumps(task(i)).encode() for i in (1, 2)]), "Each line is a task"),
    ],
    ids=["utf-16", "lines"],
)
def test_files_that_are_nearly_exports_get_their_own_remedy(
    photos: Path, content: bytes, remedy: str
) -> None:
    path = photos.parent / "export.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=remedy):
        load_label_studio(path, photos)


def test_what_other_programs_write_is_read_if_it_is_clear(photos: Path) -> None:
    one, two = copy.deepcopy(PAIR)
    one["value"] |= {"x": "10", "y": "20.0", "rotation": "0"}
    one |= {"original_width": str(WIDTH), "original_height": float(HEIGHT)}
    two["value"]["rectanglelabels"] = "person"
    blank = region("c", "  ", (1, 1, 5, 5))
    done = annotation(
        one, two, blank, relation("a", "b", "on", direction="none"), relation("b", "a", " "),
        was_cancelled=0, created_at="2 days ago", updated_at=None,
        completed_by={"id": 1, "email": "Anna@example.com"},
    )  # fmt: skip
    exported = {**task(1, done, annotation(was_cancelled=1)), "id": 7.0}
    (found,) = load(photos, exported, annotator="anna@example.com")
    assert found["image_id"] == 7
    np.testing.assert_allclose(found["annotations"].boxes, IN_PIXELS)
    assert triplets(found) == [[0, 1, 0]]
    assert counted(photos, exported) == {
        "none_relations": 1, "relations_without_label": 1, "boxes_without_label": 1
    }  # fmt: skip


def test_tasks_without_an_image_are_left_out_and_counted(photos: Path) -> None:
    choice = {"id": "c", "type": "choices", "from_name": "c", "to_name": "t", "value": {"choices": ["x"]}}
    data = [{"text": "a cup on a table"}, {"audio": "/data/upload/1/1a2b3c4d-a.wav"}, {"text": ""}, {}]
    tasks = [{**task(i, annotation(choice)), "data": x} for i, x in enumerate(data, start=2)]
    (found,) = load(photos, task(1, annotation(*PAIR)), *tasks)
    assert found["image_id"] == 1
    assert counted(photos, task(1, annotation(*PAIR)), *tasks)["tasks_without_image"] == len(data)
    # With boxes there must have been one.
    lost = [{**task(i, annotation(*PAIR)), "data": {"img": x}} for i, x in ((8, ""), (9, None))]
    with pytest.raises(FileNotFoundError, match=r"task 8: the image '' is .* more: task 9\."):
        load(photos, task(1, annotation(*PAIR)), *lost)
    assert len(load(photos, task(1, annotation(*PAIR)), *lost, skip_missing_images=True)) == 1


def test_of_two_controls_that_label_a_box_the_first_is_taken(photos: Path) -> None:
    second = region("a", "tall", A, from_name="size")
    other = [region("b", "person", B), region("b", "woman", B)]
    bare = {"id": "a", "type": "labels", "from_name": "age", "value": {"labels": ["old"]}}
    one = task(1, annotation(region("a", "cup", A), second, *other, relation("a", "b", "on")))
    assert counted(photos, task(1, annotation(PAIR[0], bare))) == {"labels_of_other_controls": 1}
    (found,) = load(photos, one)
    assert found["annotations"].classes.tolist() == [0, 1, 2]
    assert triplets(found) == [[0, 1, 0], [0, 2, 0]]
    assert counted(photos, one) == {"labels_of_other_controls": 1, "boxes_of_several_labels": 1}


def test_a_cut_file_and_a_table_are_refused(photos: Path) -> None:
    path = write_export(photos.parent, task(1, annotation(*PAIR)))
    whole = path.read_text()
    for text in (whole[: len(whole) // 2], "image,id,label\none.png,1,[]\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"export\.json is not valid JSON.*choose Export, then JSON"):
            load_label_studio(path, photos)
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        load_label_studio(photos / "none.json", photos)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda x: x[1].update(id=1), "this id occurs twice"),
        (
            lambda x: x[0]["annotations"][0]["result"][1].update(id="a"),
            "region 'a': the id occurs twice, with",
        ),
        (lambda x: x[0]["annotations"][0]["result"][0]["value"].update(x=math.nan), "region 'a': 'x' is nan"),
        (lambda x: x[0]["annotations"][0]["result"][0]["value"].update(width=1e300), "'width' is 1e\\+300"),
        (lambda x: x[0]["annotations"][0]["result"][0]["value"].pop("height"), "no 'height'"),
        (
            lambda x: x[0]["annotations"][0]["result"][0].update(original_width=300),
            "region 'b': the image has 200 x 100 pixels, and 300 x 100",
        ),
        (lambda x: x[0]["annotations"][0]["result"][2].update(direction="up"), "the direction 'up'"),
        (lambda x: x[0].update(annotations=[12]), "'annotations' holds 12"),
    ],
)
def test_damage_is_named(photos: Path, change: Any, problem: str) -> None:
    tasks = [task(1, annotation(*PAIR, relation("a", "b", "on"))), task(2, annotation())]
    tasks = copy.deepcopy(tasks)
    change(tasks)
    with pytest.raises(ValueError, match=rf"export\.json: task 1.*{problem}"):
        load(photos, *tasks)


def test_the_checker_reads_past_all_damages_of_a_file(photos: Path) -> None:
    for name in ("two.png", "three.png", "a/twice.png", "b/twice.png"):
        picture(photos / name)
    picture(photos / "wide.png", (2 * WIDTH, HEIGHT))
    (photos / "broken.png").write_text("<html>")
    one = task(
        1,
        annotation(
            *PAIR,
            region("c", "cup", (math.nan, 1, 2, 3)),
            region("a", "cup", B),
            {**region("d", "cup", A), "original_width": 7},
            {**region("e", "cup", A), "value": {"x": 1}},
            {**region("f", "cup", A), "id": [1]},
            region("g", "plate", A),
            relation("a", "b", "on", direction="up"),
            relation("a", "b", "under"),
            relation("c", "b", "on"),
            relation("g", "b", "on"),
            relation("b", "a", "on"),
        ),
    )
    result = [*PAIR, relation("a", "b", "on")]
    others = {
        "missing picture": task(3, annotation(*result), image="none.png"),
        "address of several pictures": task(4, annotation(*result), image="s3://x/twice.png"),
        "picture of another shape": task(5, annotation(*result), image="wide.png"),
        "value of another type": task(6, annotation(*result)) | {"annotations": [12]},
        "repeated task": task(2, annotation(*result), image="three.png"),
        "task with several images": task(7, annotation({**PAIR[0], "item_index": 1}, PAIR[1])),
    }
    path = write_export(
        photos.parent,
        one,
        7,
        task(2, annotation(*result), image="two.png"),
        *others.values(),
        task(8, annotation(*result), image="broken.png"),
        task(9, annotation(*result), image="three.png"),
    )
    classes = {"thing_classes": ["cup", "person"], "predicate_classes": ["on"]}
    with collected() as groups:
        found = load_label_studio(path, photos, **classes)
    assert {kind: group.count for (_, kind), group in groups.items()} == {
        **dict.fromkeys(others, 1),
        "value of another type": 2,
        "task that is no object": 1,
        "number that is none or too large": 1,
        "id of two boxes": 1,
        "image with two sizes": 1,
        "box without its numbers": 1,
        "unknown direction": 1,
        "class of no vocabulary": 1,
        "predicate of no vocabulary": 1,
        "picture that can't be read": 1,
    }
    assert groups[str(path), "class of no vocabulary"].first[0].where == "task 1"
    assert groups[str(path), "image with two sizes"].first[0].where == "task 1, region 'd'"
    assert groups[str(path), "task that is no object"].first[0].where == "task number 2 of the file"
    # The task of the refused region stays.
    assert [image["image_id"] for image in found] == [1, 2, 7, 9]
    assert [triplets(image) for image in found] == [[[1, 0, 0]], [[0, 1, 0]], [], [[0, 1, 0]]]


def test_a_file_of_which_every_task_is_refused_is_no_file_without_tasks(photos: Path) -> None:
    path = write_export(photos.parent, task(1, annotation(*PAIR)) | {"annotations": 5}, "x")
    with collected() as groups:
        assert load_label_studio(path, photos) == []
    assert len(groups) == 2
    path = write_export(photos.parent)
    with collected(), pytest.raises(ValueError, match="the file holds no task"):
        load_label_studio(path, photos)


def test_any_wrong_value_is_named_or_read(photos: Path) -> None:
    """500 exports with one value exchanged, removed or repeated: read, or refused with file and task."""
    numbers = random.Random(3)
    values = [
        None,
        True,
        -1,
        0,
        3.5,
        math.inf,
        10**400,
        "",
        "text",
        "\ud800",
        [],
        [1],
        {},
        {"a": 1},
        [None],
        [[]],
    ]
    anna = {"id": 5, "email": "anna@example.com"}
    regions = [region("a", "cup", (1, 2, 3, 4, 30), score=0.5), {**region("b", None), "type": "rectangle"}]
    labels = {"id": "b", "type": "labels", "to_name": "img", "value": {"labels": ["x"]}}
    links = [relation("a", "b", "on", meta={"predicate_score": 0.5}), relation("b", "a", "x", direction="bi")]
    original = [
        task(1, annotation(*regions, labels, *links, completed_by=anna), annotation(*PAIR, completed_by=3)),
        task(2, annotation(was_cancelled=True), image="/data/upload/1/1a2b3c4d-one.png"),
        task(3, predictions=[{"result": [*PAIR], "score": 0.5, "model_version": "m"}]),
    ]
    read = refusals = 0
    for _ in range(500):
        changed = copy.deepcopy(original)
        places = [(changed, i) for i in range(3)]
        for holder, key in places:
            value = holder[key]
            if isinstance(value, dict | list):
                places += [(value, k) for k in (value if isinstance(value, dict) else range(len(value)))]
        holder, key = numbers.choice(places)
        if numbers.random() < 0.2:
            del holder[key]
        else:
            holder[key] = numbers.choice(values)
        # Without any annotated task, the file as a whole is refused.
        with collected() as groups, suppress(ValueError):
            load(photos, *changed, skip_missing_images=True)
        try:
            load(photos, *changed, skip_missing_images=True)
            read += 1
            assert not groups
        except (ValueError, FileNotFoundError) as error:
            refusals += 1
            assert groups or "no task has an annotation" in str(error)
            assert "export.json" in str(error), error
            assert ", task " in str(error) or "number" in str(error) or "task" in str(error), error
    assert min(read, refusals) >= 100


def test_all_that_is_counted_is_said() -> None:
    counts = Counts()
    for number, kind in enumerate(COUNTED):
        counts.add(kind, number)
    assert str(counts).count("(first in task ") == len(COUNTED)
