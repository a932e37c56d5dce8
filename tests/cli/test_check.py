"""`reldn check`: exit status, text, JSON and page."""

import json
import re
import sys
from collections.abc import Iterator
from html import unescape
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from reldn_d2.cli import check as tool
from reldn_d2.cli.checking.page import draw
from reldn_d2.cli.checking.samples import Sample, choose_samples
from reldn_d2.data import save_coco_relations
from reldn_d2.engine.datasets import vocabulary_of
from tests.builders.checked_images import BOXES, HEIGHT, WIDTH, annotation, image
from tests.builders.commands import line_of_refusal, run_reldn, usage_error

THINGS, PREDICATES = ["cat", "<dog>", "bird"], ["on", "by"]
NAME, TRAIN = "check_test", "check_train"
# The cat is on one of two birds, and the dog is on the other bird, nearby.
CONFUSABLE = [annotation(box, c) for box, c in zip([*BOXES, [1, 1, 9, 9]], [0, 2, 2, 1], strict=True)]


@pytest.fixture
def images(tmp_path: Path) -> list[dict[str, Any]]:
    """Six images without errors; the third has a confusable case of each kind."""
    dataset_dicts = [image(i, file_name=str(tmp_path / f"{i}.png")) for i in range(6)]
    dataset_dicts[2] |= {"annotations": CONFUSABLE, "relations": np.array([[0, 1, 0], [3, 2, 0]])}
    for number, dataset_dict in enumerate(dataset_dicts):
        Image.new("RGB", (WIDTH, HEIGHT), (40 * number, 90, 120)).save(dataset_dict["file_name"])
    return dataset_dicts


@pytest.fixture
def registered(images: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    register(NAME, images)
    yield images
    for name in (NAME, TRAIN):
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def register(name: str, dataset_dicts: Any, **metadata: Any) -> None:
    DatasetCatalog.register(name, lambda: dataset_dicts)
    MetadataCatalog.get(name).set(thing_classes=THINGS, predicate_classes=PREDICATES, **metadata)


def run(*words: object) -> int:
    """`reldn check --dataset` with the data sets that are named first, and options."""
    return run_reldn("check", "--dataset", *words)


def test_a_data_set_without_problems(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(NAME) == 0
    text = capsys.readouterr().out
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    for expected in (
        ["images", "6"],
        ["entities", "19", "3 to 4 an image, median 3"],
        ["relationships", "12", "2 to 2 an image, median 2"],
        ["between boxes that share no area", "6", "50.0 %: lost by an overlap filter"],
        ["entity classes", "3", "0 never occur"],
        ["confusable instance cases", "2", "16.7 % of distinct relationships, in 1 images"],
        ["confusable proximity cases", "2", "16.7 % of distinct relationships, in 1 images"],
        ["images with either case", "1", "16.7 %"],
        ["bird", "7", "36.8 %", "cat", "6", "31.6 %", "<dog>", "6", "31.6 %"],
        ["on", "7", "58.3 %", "by", "5", "41.7 %"],
        [f"{NAME}: no errors"],
    ):
        assert expected in lines
    assert "zero-shot" not in text and "annotation errors" not in text and "annotation_file" not in text


def test_notes_are_not_errors(registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    registered[0]["relations"] = []
    assert run(NAME) == 0
    text = capsys.readouterr().out
    assert "note no_relation: 1 in 1 image\n" in text
    assert f"{NAME}: no errors; notes: no_relation" in text
    assert "..." not in text


def test_errors_give_status_1(registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    registered[1]["relations"] = [[0, i, 0] for i in range(1, 9)]
    registered[3]["annotations"] = [annotation([0, 0, 99, 9], 0), *image()["annotations"][1:]]
    assert run(NAME) == 1
    text = capsys.readouterr().out
    assert "error dangling_id: 6 in 1 image\n" in text
    assert "    image 1, relation 2: [0, 3, 0] in an image of 3 annotations (cat → on → ?)\n" in text
    assert text.count("image 1, relation") == 5 and "    ...\n" in text
    assert "image 3, annotation 0: box [0.0, 0.0, 99.0, 9.0] of 40 x 30 pixels" in text
    assert "Subject and object are positions in the annotations" in text
    assert re.search(r"images without annotation errors +4  66\.7 %; the next rows count these images", text)
    assert f"{NAME}: errors: box_far_outside, dangling_id\n" in text
    # status 2 (not loaded) goes before status 1 (errors), in any order
    assert run("check_nowhere", NAME) == run(NAME, "check_nowhere") == 2


def test_pictures_are_read_as_asked(registered: list[dict[str, Any]]) -> None:
    path = Path(registered[4]["file_name"])
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-300])
    assert [run(NAME, "--images", how) for how in ("decode", "header", "skip")] == [1, 0, 0]
    path.unlink()
    assert [run(NAME, "--images", how) for how in ("decode", "header", "skip")] == [1, 1, 0]


def test_the_official_size_is_compared(registered: list[dict[str, Any]]) -> None:
    MetadataCatalog.get(NAME).set(expected_counts={"images": 6, "relationships": 12})
    assert run(NAME) == 0
    registered.pop()
    assert run(NAME) == 1


def test_unseen_triplets_are_counted(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    register(TRAIN, registered[:1])
    MetadataCatalog.get(NAME).set(train_dataset=TRAIN)
    assert run(NAME) == 0
    # "cat on bird" and "<dog> on bird" of the third image
    assert re.search(
        r"zero-shot relationships +2  16\.7 %; 2 label triplets that are not in the training split",
        capsys.readouterr().out,
    )


def test_a_training_split_that_cannot_be_loaded_is_named_and_the_rest_is_reported(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    MetadataCatalog.get(NAME).set(train_dataset="check_nowhere")
    output, page = tmp_path / "out.json", tmp_path / "page.html"
    assert run(NAME, "--output", output, "--html", page) == 0
    # text, JSON and page have the same line
    (line,) = re.findall("zero-shot relationships: not counted.*", capsys.readouterr().out)
    assert "check_nowhere" in line and len(line) < 500
    (report,) = json.loads(output.read_text())["data_sets"]
    assert report["zero_shot"] is None and report["not_counted"] == [line]
    assert line in unescape(page.read_text())


def test_pictures_of_the_training_split_are_noted_also_under_another_name(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(registered[4]["file_name"]).read_bytes())
    register(TRAIN, [image(0, file_name=str(copy))])
    MetadataCatalog.get(NAME).set(train_dataset=TRAIN)
    expected = f"note shared_picture (with {TRAIN}): 1 in 1 image"
    for data_sets in ([NAME], [TRAIN, NAME]):
        assert run(*data_sets) == 0
        text = capsys.readouterr().out
        assert text.count(expected) == text.count("shared_picture (") == 1
        assert f"    image 4: {registered[4]['file_name']} is {copy} of {TRAIN}\n" in text
    assert run(NAME, "--images", "skip") == 0
    assert "shared_picture" not in capsys.readouterr().out


def test_faulty_annotations_prevent_zero_shot_counts_and_the_report_says_so(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    register(TRAIN, registered[:1])
    MetadataCatalog.get(NAME).set(train_dataset=TRAIN)
    registered[5] = {}
    assert run(NAME) == 1
    text = capsys.readouterr().out
    assert "\nzero-shot relationships: not counted, because: annotations have errors\n" in text


def test_faulty_pictures_and_another_size_change_no_count(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    register(TRAIN, registered[:1])
    MetadataCatalog.get(NAME).set(train_dataset=TRAIN, expected_counts={"images": 7})
    Path(registered[2]["file_name"]).unlink()
    Path(registered[3]["file_name"]).write_text("<html>")
    registered[4]["width"] += 1
    assert run(NAME) == 1
    text = capsys.readouterr().out
    assert f"{NAME}: errors: missing_image, unreadable_image, image_size, counts; notes: " in text
    # the image without picture is the one with both kinds of cases
    assert re.search(r"confusable instance cases +2 ", text)
    assert re.search(r"zero-shot relationships +2 ", text)
    assert "annotation errors" not in text and "not counted" not in text


def test_a_data_set_that_can_not_be_loaded_gives_status_2(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    output = tmp_path / "out.json"
    assert run(NAME, "--annotations", broken, "--image-root", tmp_path, "--output", output) == 2
    text = capsys.readouterr().out
    assert f"error: {broken} can't be loaded: {broken}" in text and "not valid JSON" in text
    # the other data set is still checked
    assert f"{NAME}: no errors" in text
    first, second = json.loads(output.read_text())["data_sets"]
    assert first["name"] == NAME and "not valid JSON" in second["error"]


def test_a_loader_that_fails_is_named_with_its_line(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    register(TRAIN, None)
    DatasetCatalog.pop(TRAIN)
    DatasetCatalog.register(TRAIN, lambda: {}["bbox"])
    assert run(TRAIN) == 2
    assert re.search(r"test_check\.py, line \d+: KeyError: 'bbox'", capsys.readouterr().out)


@pytest.mark.parametrize("returned", [None, {"1": {}}])
def test_a_loader_must_return_a_list(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], returned: Any
) -> None:
    register(TRAIN, returned)
    assert run(TRAIN) == 2
    assert f"its loader returns a {type(returned).__name__}, not a list" in capsys.readouterr().out


def test_a_data_set_without_class_names_is_named(
    images: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    DatasetCatalog.register(TRAIN, lambda: images)
    try:
        assert run(TRAIN) == 2
        assert "has no thing_classes in its metadata" in capsys.readouterr().out
    finally:
        DatasetCatalog.remove(TRAIN)
        MetadataCatalog.remove(TRAIN)


@pytest.mark.parametrize("names", ["cup", ["cat", 7, "bird"], {"bird": 0, "cat": 2, "dog": 1}])
def test_names_of_classes_that_are_no_list_of_texts_are_refused(
    names: Any, registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    DatasetCatalog.register(TRAIN, lambda: registered)
    MetadataCatalog.get(TRAIN).set(thing_classes=names, predicate_classes=PREDICATES)
    assert run(TRAIN) == 2
    assert f"thing_classes of data set {TRAIN} is {names!r}: give a list" in capsys.readouterr().out
    with pytest.raises(ValueError, match=f"thing_classes of data set {TRAIN} is"):
        vocabulary_of(TRAIN)


def test_a_data_set_for_a_detector_alone_is_checked(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    without = [{key: x for key, x in image.items() if key != "relations"} for image in registered]
    DatasetCatalog.register(TRAIN, lambda: without)
    MetadataCatalog.get(TRAIN).set(thing_classes=THINGS)
    assert run(TRAIN, "--html", tmp_path / "page.html") == 0
    assert f"{TRAIN}: no errors\n" in capsys.readouterr().out
    without[1]["annotations"] = [annotation(BOXES[0], 3)]
    assert run(TRAIN) == 1
    assert "class 3 of 3" in capsys.readouterr().out


def test_a_data_set_without_images_has_an_error(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    registered.clear()
    assert run(NAME) == 1
    assert f"{NAME}: errors: no_images" in capsys.readouterr().out


def test_an_unknown_name_is_answered_with_similar_ones(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check_tset") == 2
    assert f"did you mean {NAME}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give --data FILE.yaml, --dataset NAME, or --annotations FILE.json --image-root FOLDER"),
        (["--annotations", "x"], "--annotations and --image-root need each other: give both"),
        (["--dataset", "x", "--image-root", "y"], "--annotations and --image-root need each other"),
        (["--dataset", "x", "--images", "z"], "argument --images: invalid choice: 'z'"),
        (["--dataset", "x", "--samples", "-1"], "--samples must not be negative"),
        (["x"], "unrecognized arguments: x"),
    ],
)
def test_wrong_usage_gives_status_2(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert usage_error(capsys, "check", *words).startswith(message)


def test_all_numbers_are_written_as_json(registered: list[dict[str, Any]], tmp_path: Path) -> None:
    registered[0] |= {"relations": np.array([[0, 1, 0], [0, 1, 0]])}
    registered[1] |= {"image_id": 0}
    registered[5] = {"image_id": 5}
    output = tmp_path / "new" / "report.json"
    assert run(NAME, "--output", output) == 1
    (report,) = json.loads(output.read_text())["data_sets"]
    assert report["name"] == NAME and report["has_errors"] is True
    assert report["summary"]["images"] == 6 and report["summary"]["entities"] == 16
    assert report["summary"]["entities_per_image"] == {"minimum": 3, "median": 3.0, "maximum": 4}
    assert report["entity_classes"] == [
        {"name": name, "count": count} for name, count in (("bird", 6), ("cat", 5), ("<dog>", 5))
    ]
    assert report["predicates"] == [{"name": "on", "count": 7}, {"name": "by", "count": 3}]
    assert report["confusion"] == {
        "images_checked": 4,
        "relationships": 7,
        "images_with_either": 1,
        "instance": {"cases": 2, "images": 1},
        "proximity": {"cases": 2, "images": 1},
    }
    assert report["zero_shot"] is None and report["not_counted"] == [] and report["sources"] == {}
    problems = {problem["kind"]: problem for problem in report["problems"]}
    assert [*problems] == ["malformed", "repeated_image_id", "repeated_relation"]
    assert problems["malformed"]["records"][0]["image"] == 5
    assert problems["repeated_relation"]["records"] == [
        {"image": 0, "image_id": 0, "relation": 1, "detail": "[0, 1, 0] again"}
    ]
    assert problems["malformed"]["is_error"] and not problems["repeated_relation"]["is_error"]


def test_the_page_shows_everything(registered: list[dict[str, Any]], tmp_path: Path) -> None:
    registered[0]["annotations"][0]["bbox"] = [20.0, 2.0, 1.0, 22.0]
    page = tmp_path / "page.html"
    assert run(NAME, "--html", page, "--samples", "5") == 1
    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") == 5
    assert not re.search(r"https?:", re.sub(r"http://www\.w3\.org/\S+", "", html))
    for text in (
        "Error box_order: 1 in 1 image. The far corner",
        "box_order: image 0, annotation 0: box [20.0,",
        "instance case, image 2: cat → on → bird; wrong triplets: 1",
        "&lt;dog&gt;",
    ):
        assert text in html


def test_samples_are_of_all_sorts_and_the_same_every_time(registered: list[dict[str, Any]]) -> None:
    # the case of the third image is drawn once, so the other kind needs a second image
    registered[3] |= {"annotations": CONFUSABLE, "relations": np.array([[0, 1, 0], [3, 2, 0]])}
    registered[1]["annotations"][0]["bbox"] = [float("nan"), 0, 9, 9]
    registered[4]["relations"] = [[0, 1, 0], [1, 1, 0], [0, 7, 0]]
    registered[5] = None  # type: ignore[call-overload]
    report = tool.check(NAME, "skip")
    samples = choose_samples(report, 12)
    assert [s.caption for s in samples] == [s.caption for s in choose_samples(report, 12)]
    captions = {sample.image: sample.caption for sample in samples}
    assert len(captions) == len(samples)
    # the NaN box, the malformed dict and the relationship without object cannot be drawn
    assert captions[4] == "self_relation: image 4, relation 1: [1, 1, 0] (<dog> → on → <dog>)"
    assert captions[2].startswith("instance case, image 2: cat")
    assert captions[3].startswith("proximity case, image 3: cat")
    assert captions[0] == "by (2 of 11), image 0"
    assert {*captions} == {0, 2, 3, 4}
    (case,) = (sample for sample in samples if sample.image == 2)
    assert [row.tolist() for row in case.relations] == [[0, 1, 0], [0, 2, 0]]
    assert case.correct == [True, False]
    assert len(choose_samples(report, 2)) == 2 and choose_samples(report, 0) == []


def test_errors_are_drawn_first_one_of_each_kind_then_more_in_turn(registered: list[dict[str, Any]]) -> None:
    outside, empty = annotation([0, 0, 99, 9], 0), annotation([3, 3, 3, 9], 0)
    entities = image()["annotations"][1:]
    for position, boxes in {0: [outside], 3: [outside, outside], 4: [outside]}.items():
        registered[position]["annotations"] = [*boxes, *entities]
    # image with two kinds of errors, drawn for each
    registered[0]["annotations"].append(empty)
    registered[5] |= {"relations": [[0, 1, 9]], "image_id": 4}
    registered[1]["relations"] = []
    report = tool.check(NAME, "skip")
    drawn = [(sample.caption.split(":")[0], sample.image) for sample in choose_samples(report, 12)]
    assert drawn == [
        ("repeated_image_id", 5),
        ("empty_box", 0),
        ("box_far_outside", 0),
        ("box_far_outside", 3),
        ("box_far_outside", 4),
        ("unknown_predicate", 5),
        ("no_relation", 1),
        ("instance case, image 2", 2),
    ]
    few = [sample.caption.split(":")[0] for sample in choose_samples(report, 5)]
    assert few == ["repeated_image_id", "empty_box", *["box_far_outside"] * 2, "unknown_predicate"]
    assert len(choose_samples(report, 3)) == 3


def test_images_without_a_picture_are_drawn_only_for_errors(registered: list[dict[str, Any]]) -> None:
    for position in (2, 3):
        Path(registered[position]["file_name"]).unlink()
    Path(registered[5]["file_name"]).write_text("<html>")
    registered[3]["relations"] = [[0, 1, 9]]
    samples = choose_samples(tool.check(NAME, "decode"), 12)
    assert samples[0].caption == "unknown_predicate: image 3, relation 0: [0, 1, 9], predicate 9 of 2 " + (
        "(cat → predicate 9 → <dog>)"
    )
    assert {sample.image for sample in samples[1:]} == {0, 1, 4}


def test_a_box_that_the_loader_changed_is_a_note_and_drawn(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    registered[4]["changed_boxes"] = np.array([1])
    assert run(NAME) == 0
    text = capsys.readouterr().out
    assert "note box_changed: 1 in 1 image\n" in text
    assert "    image 4, annotation 1: now box [10.0, 10.0, 30.0, 28.0] of 40 x 30 pixels\n" in text
    sample = choose_samples(tool.check(NAME, "skip"), 12)[0]
    assert (sample.image, list(sample.entities)) == (4, [1])


def test_a_case_says_how_many_of_its_wrong_triplets_are_drawn(registered: list[dict[str, Any]]) -> None:
    def cases(birds: int) -> list[str]:
        boxes = [[10.0 + 5 * i, 10, 14 + 5 * i, 28] for i in range(birds)]
        registered[2] |= {
            "annotations": [annotation(BOXES[0], 0), *(annotation(box, 2) for box in boxes)],
            "relations": np.array([[0, 1, 0]]),
        }
        samples = choose_samples(tool.check(NAME, "skip"), 12)
        found = [sample for sample in samples if "case, image 2: cat → on → bird" in sample.caption]
        assert [len(sample.relations) for sample in found] == [1 + min(birds - 1, 3)]
        return [sample.caption.split("; ")[1] for sample in found]

    assert cases(4) == ["wrong triplets: 3"]
    assert cases(6) == ["wrong triplets: 3 of 5 drawn"]


def test_large_pictures_are_drawn_small(registered: list[dict[str, Any]]) -> None:
    for scale in (1, 50):
        size = WIDTH * scale, HEIGHT * scale
        registered[0]["width"], registered[0]["height"] = size
        Image.new("RGB", size).save(registered[0]["file_name"])
        report = tool.check(NAME, "decode")
        assert not report.has_errors
        height, width, _ = draw(report, Sample(0, "", [np.array([0, 1, 0])])).shape
        # The picture is 640 x 480. Below it, two names and a triplet may be listed.
        assert width == 640 and 480 <= height < 640


def test_the_page_and_the_text_say_where_the_data_come_from_and_show_large_numbers_alike(
    registered: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    MetadataCatalog.get(NAME).set(annotation_file="some/file.json", image_root=tmp_path)
    registered[0]["relations"] = np.tile(image()["relations"], (1000, 1))
    page, output = tmp_path / "page.html", tmp_path / "out.json"
    assert run(NAME, "--html", page, "--output", output) == 0
    assert "2,010" in capsys.readouterr().out and '<td class="number">2,010</td>' in page.read_text()
    lines = f"annotation_file: some/file.json\nimage_root: {tmp_path}\n"
    run(NAME)
    text = capsys.readouterr().out
    assert f"{'=' * len(NAME)}\n{lines}\n" in text
    assert f"<pre><code>{lines.strip()}</code></pre>" in page.read_text()
    (report,) = json.loads(output.read_text())["data_sets"]
    assert report["sources"] == {"annotation_file": "some/file.json", "image_root": str(tmp_path)}


def test_samples_are_drawn_without_pictures_and_with_unknown_classes(
    registered: list[dict[str, Any]], tmp_path: Path
) -> None:
    Path(registered[0]["file_name"]).unlink()
    registered[0]["annotations"][0]["category_id"] = 77
    registered[1]["relations"] = [[0, 1, 9]]
    registered[2]["annotations"] = [annotation([0, 0, 1e9, 9], 0), *CONFUSABLE[1:]]
    registered[3] |= {"width": 10**8, "height": 10**8}
    registered[4] |= {"annotations": [], "relations": []}
    page = tmp_path / "page.html"
    assert run(NAME, "--html", page) == 1
    assert "unknown_class: image 0, annotation 0: class 77 of 3" in page.read_text()


def test_a_coco_relations_file(
    images: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Names:
        thing_classes, predicate_classes = THINGS, PREDICATES

    path = tmp_path / "train.json"
    save_coco_relations(images, Names, path, tmp_path)
    assert run_reldn("check", "--annotations", path, "--image-root", tmp_path) == 0
    assert f"{path}: no errors" in capsys.readouterr().out


def test_the_command_imports_own_data_sets(
    images: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tmp_path / "own_data.py"
    faulty = {**images[0], "annotations": [], "relations": [[0, 5, 0]]}
    module.write_text(
        "from detectron2.data import DatasetCatalog, MetadataCatalog\n"
        f"DatasetCatalog.register('own', lambda: [{faulty}])\n"
        f"MetadataCatalog.get('own').set(thing_classes={THINGS}, predicate_classes={PREDICATES})\n"
    )
    assert run_reldn("check", "--dataset", "own", "--import", module) == 1
    assert "own: errors: dangling_id" in capsys.readouterr().out


def test_an_import_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    message = line_of_refusal(capsys, "check", "--dataset", "own", "--import", "no_such_module")
    assert message.startswith("--import no_such_module")


def test_a_terminal_without_an_arrow_shows_another_sign_and_the_page_has_the_arrow(
    registered: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registered[0]["relations"] = np.array([[0, 1, 0], [0, 1, 0]])
    screen = TextIOWrapper(BytesIO(), encoding="cp1252")  # as PYTHONIOENCODING=cp1252 makes it
    monkeypatch.setattr(sys, "stdout", screen)
    page = tmp_path / "page.html"
    assert run(NAME, "--html", page) == 0
    screen.flush()
    text = screen.buffer.getvalue().decode("cp1252")  # type: ignore[attr-defined]
    assert "relation 1: [0, 1, 0] again (cat -> on -> <dog>)" in text
    assert "cat → on → " in unescape(page.read_text(encoding="utf-8"))
