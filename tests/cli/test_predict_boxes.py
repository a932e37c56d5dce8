"""`--boxes` of `reldn predict`: COCO's files, graphs, and boxes by file name."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from reldn_d2.cli.prediction.boxes import BoxesFile
from reldn_d2.cli.prediction.images import InputImage
from tests.builders.commands import Captured, line_of_refusal, usage_error
from tests.builders.fake_predictor import PredictCommand, write_picture
from tests.builders.tiny_models import TinyConfig

# Two boxes in an image of 60 x 40 pixels.
XYXY = [[1.0, 2.0, 21.0, 32.0], [30.0, 5.0, 50.0, 35.0]]
XYWH = [[1.0, 2.0, 20.0, 30.0], [30.0, 5.0, 20.0, 30.0]]
CATEGORIES = [{"id": 7, "name": "person"}, {"id": 18, "name": "dog"}]


@pytest.fixture
def predict(tmp_path: Path, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch) -> PredictCommand:
    for name in ("a.png", "000000000139.png"):
        write_picture(tmp_path / "in" / name)
    return PredictCommand(tmp_path, tiny_config(), monkeypatch)


def write(tmp_path: Path, content: Any, name: str = "boxes.json") -> Path:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def entities(predict: PredictCommand, stem: str = "a") -> list[tuple[str, float, list[float]]]:
    graph = json.loads((predict.output / f"{stem}.json").read_text())
    return [(x["class"], x["score"], x["box"]) for x in graph["entities"]]


def records(*, image_id: Any = "a.png", scores: bool = True, names: bool = False) -> list[dict[str, Any]]:
    categories = ["person", "dog"] if names else [7, 18]
    return [
        {"image_id": image_id, "bbox": box, "category_id": category, **({"score": score} if scores else {})}
        for box, category, score in zip(XYWH, categories, (0.75, 0.5), strict=True)
    ]


GRAPH = {
    "version": 1,
    "image": {"file_name": "a.png", "width": 60, "height": 40},
    "entities": [
        {"id": i, "class": name, "score": score, "box": box}
        for i, (name, score, box) in enumerate(zip(("person", "dog"), (0.75, 0.5), XYXY, strict=True))
    ],
    "relationships": [],
}
COCO = {
    "images": [{"id": 5, "file_name": "a.png"}, {"id": 6, "file_name": "elsewhere.png"}],
    "annotations": records(image_id=5, scores=False),
    "categories": CATEGORIES,
}
DETECTED = [("person", 0.75, XYXY[0]), ("dog", 0.5, XYXY[1])]
CERTAIN = [("person", 1.0, XYXY[0]), ("dog", 1.0, XYXY[1])]
BY_NAME = {"boxes": XYXY, "classes": ["person", "dog"], "scores": [0.75, 0.5]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (records(names=True), DETECTED),
        (records(names=True, image_id="a"), DETECTED),
        (records(names=True, scores=False), CERTAIN),
        (COCO, CERTAIN),
        (GRAPH, DETECTED),
        ([GRAPH], DETECTED),
        ({"a.png": BY_NAME}, DETECTED),
        ({"a": {**BY_NAME, "scores": None}}, CERTAIN),
        ({"a": {**BY_NAME, "classes": [0, 1]}}, DETECTED),
        # The model classifies boxes without a class.
        ({"a.png": {"boxes": XYXY}}, [("dog", 1.0, box) for box in XYXY]),
        ([{"image_id": "a", "bbox": box} for box in XYWH], [("dog", 1.0, box) for box in XYXY]),
        ({"a.png": {"boxes": []}}, []),
    ],
    ids=[
        *("coco results", "stem", "coco results without scores", "coco file", "graph", "graphs", "by name"),
        *("no scores", "indices", "no classes", "coco without categories", "no box"),
    ],
)
def test_forms(predict: PredictCommand, tmp_path: Path, content: Any, expected: Any) -> None:
    assert predict("--input", tmp_path / "in" / "a.png", "--boxes", write(tmp_path, content)) == 0
    assert entities(predict) == expected


def test_json_lines(predict: PredictCommand, tmp_path: Path) -> None:
    other = {"image": {"file_name": "000000000139.png"}, "entities": GRAPH["entities"]}
    boxes = write(tmp_path, f"{json.dumps(GRAPH)}\n\n{json.dumps(other)}\n", "graphs.jsonl")
    assert predict("--input", tmp_path / "in", "--boxes", boxes) == 0
    assert entities(predict) == entities(predict, "000000000139") == DETECTED


def test_boxes_in_memory_are_plain_numbers(tmp_path: Path) -> None:
    entities = [
        {"class": f"thing {i}", "score": i / 100, "box": [i + 0.25, 2.5, 90.5, 99]} for i in range(50)
    ]
    graphs = [{"image": {"file_name": f"{i}.png"}, "entities": entities} for i in range(200)]
    file = write(tmp_path, "\n".join(map(json.dumps, graphs)), "graphs.jsonl")
    tracemalloc.start()
    try:
        boxes = BoxesFile.read(file, None)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Five numbers and a pointer are 48 bytes; as lists of Python's numbers they were above 300.
    assert held / (200 * 50) < 80 and peak < 1.5 * held
    assert boxes.of(InputImage(Path("7.png"), "7.png")).boxes[3].tolist() == [3.25, 2.5, 90.5, 99]


def test_the_digest_is_of_both_files(tmp_path: Path) -> None:
    results, coco = write(tmp_path, records(image_id=5)), write(tmp_path, COCO, "coco.json")
    first = BoxesFile.read(results, coco).digest
    assert BoxesFile.read(results, coco).digest == first
    write(tmp_path, {**COCO, "info": {}}, "coco.json")
    second = BoxesFile.read(results, coco).digest
    write(tmp_path, records(image_id=5)[:1])
    assert len({first, second, BoxesFile.read(results, coco).digest}) == 3


def test_what_the_command_writes_can_be_given(predict: PredictCommand, tmp_path: Path) -> None:
    predict.output = tmp_path / "first"
    assert predict("--input", tmp_path / "in", "--format", "json", "jsonl") == 0
    found = entities(predict)
    lines = predict.output / "graphs.jsonl"
    predict.output = tmp_path / "second"
    assert predict("--input", tmp_path / "in", "--boxes", lines) == 0
    assert entities(predict) == found


def test_numbers_of_coco_results_are_those_of_its_annotations(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    results = write(tmp_path, records(image_id=5))
    annotations = write(tmp_path, {**COCO, "annotations": []}, "instances.json")
    image = tmp_path / "in" / "a.png"
    assert predict("--input", image, "--boxes", results, "--annotations", annotations) == 0
    assert entities(predict) == DETECTED
    assert "boxes.json has boxes of 1 more image, not named by --input" in capsys.readouterr().out
    message = line_of_refusal(capsys, *predict.words("--input", image, "--boxes", results))
    assert message == (
        f"--boxes {results}: record 0 has the category_id 7, and nothing says which class it is: give the "
        "COCO file with these categories as --annotations, or write the class's name in place of the number"
    )
    results = write(tmp_path, records(image_id=50))
    words = predict.words("--input", image, "--boxes", results, "--annotations", annotations)
    assert line_of_refusal(capsys, *words).startswith(
        f"--boxes {results}: record 0 is of image_id 50, which is not among the images of {annotations}"
    )


def test_files_in_folders_of_others(predict: PredictCommand, tmp_path: Path) -> None:
    images = [{"id": 5, "file_name": "val2017/a.png"}, {"id": 6, "file_name": "train2017/000000000139.png"}]
    boxes = write(tmp_path, {**COCO, "images": images})
    assert predict("--input", tmp_path / "in", "--boxes", boxes) == 0
    assert entities(predict) == CERTAIN and entities(predict, "000000000139") == []
    # Two files that could be meant are none.
    boxes = write(tmp_path, {"val2017/a.png": BY_NAME, "train2017/a.png": BY_NAME, "139.png": BY_NAME})
    assert predict("--input", tmp_path / "in" / "a.png", "--boxes", boxes, "--overwrite") == 1


def test_cocos_images_are_called_by_their_number(predict: PredictCommand, tmp_path: Path) -> None:
    boxes = write(tmp_path, records(image_id=139, names=True))
    assert predict("--input", tmp_path / "in" / "000000000139.png", "--boxes", boxes) == 0
    assert entities(predict, "000000000139") == DETECTED


def test_images_without_boxes_are_failures(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    boxes = write(tmp_path, {"a.png": BY_NAME})
    assert predict("--input", tmp_path / "in", "--boxes", boxes) == 1
    assert predict.results() == ["a.json", "a.png", "failures.csv"]
    assert capsys.readouterr().err == (
        f"{tmp_path}/in/000000000139.png can't be used: --boxes {boxes} has no boxes for it: add an entry, "
        "or leave the image out\n"
    )


@pytest.mark.parametrize("boxes", [{}, {"a.png": {**BY_NAME, "scores": [0.5, None]}}], ids=["none", "wrong"])
def test_progress_counts_images_whose_boxes_can_be_used(
    predict: PredictCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boxes: Any
) -> None:
    counts: list[tuple[int, int]] = []

    def progress(outcomes: Any, unit: str, total: int) -> Any:
        found = list(outcomes)
        counts.append((len(found), total))
        yield from found

    monkeypatch.setattr("reldn_d2.cli.predict.progress", progress)
    file = write(tmp_path, {**boxes, "000000000139.png": BY_NAME})
    assert predict("--input", tmp_path / "in", "--boxes", file) == 1
    assert counts == [(1, 1)]


def test_a_name_that_several_images_have_needs_its_folder(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    write_picture(tmp_path / "in" / "more" / "a.png")
    boxes = write(tmp_path, {"a.png": BY_NAME, "139": BY_NAME})
    assert predict("--input", tmp_path / "in", "--boxes", boxes) == 1
    # The path of the other a.png below the folder is more/a.png.
    assert [x for x in predict.results() if x.endswith(".json")] == ["a.png.json"]
    said = capsys.readouterr().err
    assert "more/a.png can't be used" in said and "2 images of --input are called so: name this one" in said
    assert "000000000139.png can't be used: " in said
    boxes = write(tmp_path, {"a.png": BY_NAME, "more/a.png": BY_NAME, "000000000139": BY_NAME})
    assert predict("--input", tmp_path / "in", "--boxes", boxes, "--overwrite") == 0


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (["a", "a.png"], "has boxes of 'a.png' and of 'a', which both are this image: put them together"),
        (
            ["x/a.png", "y/a.png"],
            "has boxes of 'x/a.png' and of 'y/a.png', and does not say which one",
        ),
        (["x/a.png", "a.png"], ""),
    ],
    ids=["two names", "two folders", "one name and a folder"],
)
def test_several_names_that_may_be_one_image(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, boxes: list[str], message: str
) -> None:
    file = write(tmp_path, dict.fromkeys(boxes, BY_NAME))
    image = tmp_path / "in" / "a.png"
    assert predict("--input", image, "--boxes", file) == bool(message)
    assert message in capsys.readouterr().err


def test_unknown_classes(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    boxes = write(tmp_path, {"a.png": {**BY_NAME, "classes": ["persn", "dog"]}})
    words = ("--input", tmp_path / "in" / "a.png", "--boxes", boxes)
    assert line_of_refusal(capsys, *predict.words(*words)) == (
        f"--boxes {boxes}: the model does not know the class 'persn' of 1 box. Did you mean 'person'? "
        "Rename it, or add --drop-unknown-classes. The model knows 'person', 'dog'"
    )
    assert predict(*words, "--drop-unknown-classes") == 0
    assert entities(predict) == DETECTED[1:]
    assert f"{boxes}: left out 1 box of 1 class unknown to the model, such as persn" in (
        capsys.readouterr().out
    )
    boxes = write(tmp_path, {"a.png": {**BY_NAME, "classes": [0, 2]}})
    assert "does not know the class 2 of" in line_of_refusal(capsys, *predict.words(*words))


def test_boxes_beyond_the_image_are_clipped_and_counted(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    boxes = write(tmp_path, {"a.png": {**BY_NAME, "boxes": [[-5, 2, 21, 32], [30, 5, 90, 35]]}})
    image = tmp_path / "in" / "a.png"
    assert predict("--input", image, "--boxes", boxes) == 0
    assert [box for *_, box in entities(predict)] == [[0, 2, 21, 32], [30, 5, 60, 35]]
    said = f"clipped to the image: 2 given boxes in 1 image, the first in {image}\n"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"boxes": [[70, 2, 80, 32]]}, "outside an image of 60 x 40 pixels"),
        ({"boxes": [[30, 5, 20, 30]]}, "which ends before it begins"),
        ({"boxes": [[0.1, 0.1, 0.5, 0.5]]}, "as shares of the image do"),
    ],
    ids=["outside", "backwards", "shares"],
)
def test_a_wrong_box_stops_its_image_only(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, given: Any, message: str
) -> None:
    boxes = write(tmp_path, {"a.png": given, "000000000139.png": BY_NAME})
    assert predict("--input", tmp_path / "in", "--boxes", boxes) == 1
    assert message in capsys.readouterr().err
    assert entities(predict, "000000000139") == DETECTED


def test_a_wrong_coco_box_names_its_record(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    boxes = write(
        tmp_path, [{"image_id": "a", "bbox": [1, 2, 0, 3]}, {"image_id": 139, "bbox": [1, 2, 3, 4]}]
    )
    assert predict("--input", tmp_path / "in", "--boxes", boxes) == 1
    said = capsys.readouterr().err
    assert "a.png can't be used" in said and "record 0 has the bbox [1, 2, 0, 3]: four numbers" in said
    assert len(entities(predict, "000000000139")) == 1


def test_crowds_are_left_out(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    coco = {**COCO, "annotations": [*COCO["annotations"], {**COCO["annotations"][0], "iscrowd": 1}]}  # type: ignore[misc]
    assert predict("--input", tmp_path / "in" / "a.png", "--boxes", write(tmp_path, coco)) == 0
    assert entities(predict) == CERTAIN and "left out 1 crowd\n" in capsys.readouterr().out


BROKEN: dict[str, tuple[Any, str]] = {
    "a number": (3, "has another form than these: COCO results"),
    "not JSON": ("{", "is not valid JSON"),
    "no bbox": ([{"image_id": 1}], "record 0 has no image_id and bbox"),
    "image_id is a list": ([{"image_id": [1], "bbox": [1, 2, 3, 4]}], "record 0 has no image_id and bbox"),
    "records are no records": ([1], "record 0 has no image_id and bbox"),
    "category is a list": (
        [{"image_id": "a", "bbox": [1, 2, 3, 4], "category_id": [1]}],
        "record 0 has the category_id [1], and nothing says",
    ),
    "score": (
        [{"image_id": "a", "bbox": [1, 2, 3, 4], "score": 75}],
        "record 0 has the score 75: scores are from",
    ),
    "images without id": ({"images": [{}], "annotations": []}, "images[0] has no 'id' and 'file_name'"),
    "an id twice": ({**COCO, "categories": CATEGORIES[:1] * 2}, "categories have the id 7 twice"),
    "a file_name twice": (
        {**COCO, "images": [{"id": i, "file_name": "a.png"} for i in (1, 2)]},
        "images have the file_name 'a.png' twice",
    ),
    "a key twice": ('{"a.png": {"boxes": []}, "a.png": {"boxes": []}}', "the key 'a.png' occurs twice"),
    "annotations": ({"images": [], "annotations": 1}, "has another form than these"),
    "graph without name": ({"entities": []}, "graph 0 has no image.file_name"),
    "graph twice": ([GRAPH, GRAPH], "graph 1 is of 'a.png', as an earlier graph"),
    "entity without box": (
        {"image": GRAPH["image"], "entities": [{"class": "dog"}]},
        "graph 0 has an entity without a box",
    ),
    "a version to come": ({**GRAPH, "version": 2}, "graph 0 has version 2 of the format"),
    "of our version, but damaged": (
        [{**GRAPH, "entities": [{"id": 0, "class": "dog", "box": XYXY[0]}]}],
        "graph 0: entities[0] must contain",
    ),
    "no boxes": ({"a.png": {}}, "'a.png' has no list 'boxes'"),
    "lengths": ({"a.png": {**BY_NAME, "classes": ["dog"]}}, "'a.png' has 2 boxes: give 'classes' as a list"),
    "class": ({"a.png": {**BY_NAME, "classes": ["dog", 0.5]}}, "'a.png' has the class 0.5: give a name"),
    "box": ({"a.png": {"boxes": [[1, 2, 3]]}}, "'a.png': box 0 is [1, 2, 3]: give [x0, y0, x1, y1]"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_names_the_record(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, kind: str
) -> None:
    content, message = BROKEN[kind]
    boxes = write(tmp_path, content)
    found = line_of_refusal(capsys, *predict.words("--input", tmp_path / "in", "--boxes", boxes))
    assert message in found and str(boxes) in found


def test_broken_lines_are_named(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    for content, message in (
        (f"{json.dumps(GRAPH)}\n{{", "line 2 is not JSON"),
        ("\n[]", "line 2 is no graph of reldn predict: it has no 'entities'"),
    ):
        boxes = write(tmp_path, content, "a.jsonl")
        assert message in line_of_refusal(
            capsys, *predict.words("--input", tmp_path / "in", "--boxes", boxes)
        )


def test_boxes_with_a_score_beside_boxes_without(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    boxes = write(tmp_path, {"a.png": {**BY_NAME, "scores": [0.5, None]}})
    assert predict("--input", tmp_path / "in" / "a.png", "--boxes", boxes) == 1
    assert "boxes of 'a.png': 1 of 2 have no score: give all of them one, or none" in capsys.readouterr().err


def test_options_that_need_boxes(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    for option in (["--annotations", "x.json"], ["--drop-unknown-classes"]):
        assert "give --boxes, too" in usage_error(
            capsys, "predict", "--input", "a", "--weights", "b", *option
        )
    by_name, coco = write(tmp_path, {"a.png": BY_NAME}), write(tmp_path, COCO, "coco.json")
    words = predict.words("--input", tmp_path / "in", "--boxes", by_name, "--annotations", coco)
    assert "coco.json is for COCO results, which --boxes" in line_of_refusal(capsys, *words)
    message = line_of_refusal(
        capsys, *predict.words("--input", tmp_path / "in", "--boxes", tmp_path / "no.json")
    )
    assert message == f"--boxes {tmp_path}/no.json: there is no such file"
