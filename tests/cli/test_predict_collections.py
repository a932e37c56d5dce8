"""`reldn predict` with formats whose file says something of all images at once."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from reldn_d2.cli.prediction.formats import collection
from reldn_d2.data.data_file import Split, read_data_file
from reldn_d2.data.datasets.coco_relations import load_coco_relations, read_class_names
from reldn_d2.engine import Prediction
from reldn_d2.scene_graphs import FORMATS, About, SceneGraph, read_graphs
from reldn_d2.scene_graphs.formats import CollectionFormat
from reldn_d2.structures.dataset_dicts import entity_boxes, relation_rows
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import visible
from tests.builders.commands import Captured, line_of_refusal
from tests.builders.fake_predictor import FakePredictor, PredictCommand, write_picture
from tests.builders.tiny_models import TinyConfig


class Counted(CollectionFormat):
    """The number of graphs, then the graphs, and the vocabulary in a file beside it."""

    ending, more_endings = ".json", (".xml",)

    def write_all(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        vocabulary = about.vocabulary
        assert vocabulary is not None
        number = sum(1 for _ in graphs)
        with atomic_write(path) as file:
            content = {"number": number, "graphs": list(graphs), "prefix": about.image_prefix}
            file.write(json.dumps(content).encode())
        with atomic_write(path.with_suffix(".xml")) as file:
            file.write(f"{about.model}: {vocabulary.thing_classes} {vocabulary.predicate_classes}".encode())

    def read(self, path: Path) -> Iterator[SceneGraph]:
        yield from json.loads(path.read_bytes())["graphs"]


@pytest.fixture
def predict(tmp_path: Path, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch) -> PredictCommand:
    monkeypatch.setitem(FORMATS, "all-counted", Counted())
    monkeypatch.setitem(collection._ADVICE, Counted, lambda path, root: f"count {path} below {root}")
    return PredictCommand(tmp_path, tiny_config(), monkeypatch)


def content(predict: PredictCommand) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((predict.output / "all_counted.json").read_bytes())
    return found


def names(predict: PredictCommand) -> list[str]:
    return [graph["image"]["file_name"] for graph in content(predict)["graphs"]]


def test_names_are_relative_to_the_folder_that_all_images_share(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one/a.png", "one/b.png", "one/two/a.png"):
        write_picture(tmp_path / "in" / name)
    assert predict("--input", tmp_path / "in", "--format", "all-counted") == 0
    # The folder that was given is not the deepest one.
    assert names(predict) == ["a.png", "b.png", "two/a.png"]
    root, file = tmp_path / "in" / "one", predict.output / "all_counted.json"
    said = capsys.readouterr().out
    assert f"{file}: names of images are relative to {root}\ncount {file} below {root}\n" in said
    assert content(predict)["prefix"] == "/data/local-files/?d=one/"
    xml = (predict.output / "all_counted.xml").read_text()
    weights, _, rest = xml.partition(" ")
    assert weights == "run" and rest[8:] == ": ['person', 'dog'] ['next to', 'feeds']"
    # Another image moves the root, also for images of the earlier run. The working directory is another.
    other = write_picture(tmp_path / "in" / "a b.png")
    monkeypatch.chdir(other.parent)
    assert predict("--input", other.name, "--format", "all-counted", "--resume") == 0
    assert names(predict) == ["one/a.png", "one/b.png", "one/two/a.png", "a b.png"]
    assert content(predict)["prefix"] == "/data/local-files/?d=in/"
    assert len(FakePredictor.seen) == 4
    assert predict.results() == ["all_counted.json", "all_counted.xml"]


def test_predictions_become_a_data_set(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    for name in ("one/a b.png", "one/é/c.png", "one/a#b.png"):
        write_picture(tmp_path / "in" / name)
    words = ("--format", "jsonl", "coco-relations", "label-studio", "--predicates-per-pair", "2")
    assert predict("--input", tmp_path / "in", *words) == 0
    file, root = predict.output / "coco_relations.json", tmp_path / "in" / "one"
    said = capsys.readouterr().out
    assert f'register_coco_relations("NAME", {{}}, "{file}", "{root}")' in said
    (line,) = [line for line in said.splitlines() if line.startswith("in a data file")]
    data_file = tmp_path / "mine.yaml"
    data_file.write_text(line.removeprefix("in a data file for --data: "))
    assert read_data_file(data_file) == {"train": Split(file, root)}
    predicted = read_graphs(predict.output / "graphs.jsonl")
    images = load_coco_relations(str(file), str(root))
    assert all(Path(image["file_name"]).is_file() for image in images)
    things, predicates = read_class_names(file)
    assert (things, predicates) == (["person", "dog"], ["next to", "feeds"])
    for graph, image in zip(predicted, images, strict=True):
        assert image["file_name"] == str(tmp_path / "in" / graph["image"]["file_name"])
        np.testing.assert_array_equal(entity_boxes(image), [entity["box"] for entity in graph["entities"]])
        assert [(s, o, predicates[p]) for s, o, p in relation_rows(image).tolist()] == [
            (x["subject"], x["object"], x["predicate"]) for x in graph["relationships"]
        ]
    tasks = json.loads((predict.output / "label_studio.json").read_bytes())
    prefix = "/data/local-files/?d=one/"
    assert [unquote(task["data"]["image"].removeprefix(prefix)) for task in tasks] == [
        Path(graph["image"]["file_name"]).relative_to("one").as_posix() for graph in predicted
    ]
    assert (
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root.parent}, and a storage of local files at {root}"
        in said
    )
    written = ["coco_relations.json", "graphs.jsonl", "label_studio.json", "label_studio.xml"]
    assert predict.results() == written
    record = sorted(path.name for path in (predict.output / "record").iterdir())
    assert record == ["finished.jsonl", "graphs.jsonl", "run.json"]  # the graphs are kept once


def test_boxes_without_an_area_are_left_out_of_data_sets_and_counted(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write_picture(tmp_path / "in" / "a.png")
    find = FakePredictor.find

    def find_a_line(self: FakePredictor, *args: Any) -> Any:
        output, clipped = find(self, *args)
        output["instances"].pred_boxes.tensor[0, 2] = output["instances"].pred_boxes.tensor[0, 0]
        return output, clipped

    monkeypatch.setattr(FakePredictor, "find", find_a_line)
    assert predict("--input", image, "--format", "coco-relations") == 0
    said = capsys.readouterr()
    assert "1 entities without an area in their image and 2 relationships" in said.out + said.err
    (found,) = load_coco_relations(str(predict.output / "coco_relations.json"), str(image.parent))
    assert len(found["annotations"]) == 1 and not len(found["relations"])


def test_a_class_that_label_studio_cannot_name_is_refused_before_the_first_image(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakePredictor, "thing_classes", ("person", "\x07"))
    image = write_picture(tmp_path / "in" / "a.png")
    message = line_of_refusal(capsys, *predict.words("--input", image, "--format", "json", "label-studio"))
    assert "the labelling config can't hold: rename it" in message
    assert not FakePredictor.seen and not predict.output.exists()


def test_thresholds_choose_what_is_written(predict: PredictCommand, tmp_path: Path) -> None:
    image = write_picture(tmp_path / "in" / "a.png")
    words = ("--input", image, "--format", "all-counted", "--overwrite")
    assert predict(*words, "--predicates-per-pair", "2") == 0
    (graph,) = content(predict)["graphs"]
    assert [x["predicate"] for x in graph["relationships"]] == ["next to", "feeds", "next to"]
    assert predict(*words, "--score-threshold", "0.3", "--entity-threshold", "0.2") == 0
    (graph,) = content(predict)["graphs"]
    assert len(graph["entities"]) == 2 and len(graph["relationships"]) == 1
    assert predict(*words, "--entity-threshold", "0.4") == 0
    (graph,) = content(predict)["graphs"]
    assert len(graph["entities"]) == 1 and not graph["relationships"]


def test_an_image_is_not_called_as_the_file_of_all_images(predict: PredictCommand, tmp_path: Path) -> None:
    for name in ("all_counted.png", "All_Counted.jpg", "all_counted_1.png"):
        write_picture(tmp_path / "in" / name)
    assert predict("--input", tmp_path / "in", "--format", "json", "all-counted") == 0
    assert content(predict)["number"] == 3
    assert len(predict.results()) == 3 + 2
    assert len({name.casefold() for name in predict.results()}) == 3 + 2
    assert predict("--input", tmp_path / "in", "--format", "json", "all-counted", "--resume") == 0
    assert len(FakePredictor.seen) == 3


def test_names_that_are_paths_elsewhere_are_left_out_and_listed(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    write_picture(tmp_path / "in" / "a.png")
    bad = [write_picture(tmp_path / "in" / name) for name in ("~b.png", "c:\\d.png")]
    broken = tmp_path / "in" / "broken.png"
    broken.write_bytes(b"no picture")
    odd = write_picture(tmp_path / "in" / os.fsdecode(b"\xff.png"))
    for more in ((), ("--resume",)):
        assert predict("--input", tmp_path / "in", "--format", "all-counted", *more) == 1
        assert names(predict) == ["a.png"]
        listed = (predict.output / "failures.csv").read_text()
        assert all(path.name.replace("\\", "\\\\") in listed for path in [*bad, broken])
        said = capsys.readouterr().err
        assert f"{bad[0]} is not in {predict.output}/all_counted.json, because names with a backslash" in said
        assert "because its name is no text in UTF-8: rename it" in said and visible(odd.name) in said
    # A tilde above the common folder does not matter.
    write_picture(tmp_path / "~x" / "a.png")
    assert predict("--input", tmp_path / "~x", "--format", "all-counted", "--overwrite") == 0
    assert names(predict) == ["a.png"]


def test_an_image_that_is_in_no_file_of_all_images_is_listed_with_all_of_them(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    for name in ("a.png", "~b.png"):
        write_picture(tmp_path / "in" / name)
    assert predict("--input", tmp_path / "in", "--format", "coco-relations", "label-studio") == 1
    said = capsys.readouterr()
    files = " and ".join(str(predict.output / f"{x}.json") for x in ("coco_relations", "label_studio"))
    assert f"{tmp_path / 'in' / '~b.png'} is not in {files}, because names with a backslash" in said.err
    assert "1 of them is not in the files of all images" in said.out


def test_images_that_are_gone_are_counted(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    images = [write_picture(tmp_path / "in" / f"{name}.png") for name in "ab"]
    assert predict("--input", *images, "--format", "all-counted") == 0
    assert " are gone" not in capsys.readouterr().out
    images[0].unlink()
    assert predict("--input", tmp_path / "in", "--format", "all-counted", "--resume") == 0
    assert (
        f"1 image of the files of all images can't be found, the first being {images[0]}"
        in capsys.readouterr().out
    )


def test_folders_with_spaces_are_quoted_for_the_shell_and_the_top_is_none(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write_picture(tmp_path / "my photos" / "in" / "a.png")
    words = ("--input", image, "--format", "label-studio")
    assert predict(*words) == 0
    assert f"DOCUMENT_ROOT='{tmp_path / 'my photos'}', and a storage" in capsys.readouterr().out
    monkeypatch.setattr(os.path, "commonpath", lambda _: "/")
    assert predict(*words) == 0
    assert "put them into one folder, and predict again" in capsys.readouterr().out


def test_without_any_result_there_is_no_file(predict: PredictCommand, tmp_path: Path) -> None:
    image = write_picture(tmp_path / "in" / "a.png", rows=13)
    assert predict("--input", image, "--format", "all-counted") == 1
    assert predict.results() == ["failures.csv"]


def test_images_without_a_common_folder(
    predict: PredictCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [str(write_picture(tmp_path / name / "a.png")) for name in ("one", "two")]
    monkeypatch.setattr(os.path, "commonpath", lambda _: "/")
    assert predict("--input", *images, "--format", "all-counted") == 0
    assert names(predict) == [image.lstrip("/") for image in images]
    assert content(predict)["prefix"] == "/data/local-files/?d="


@pytest.mark.parametrize("name", ["all_counted.json", "all_counted.xml"])
def test_corrections_are_never_replaced(
    name: str, predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    image = write_picture(tmp_path / "in" / "a.png")
    words = ("--input", image, "--format", "all-counted")
    assert predict(*words) == 0
    first = predict.files()
    file = predict.output / name
    file.write_text("corrected by a person")
    for more in ((), ("--resume",)):
        message = line_of_refusal(capsys, *predict.words(*words, *more))
        assert message == (
            f"{file} has been changed since this command wrote it, and would be written again: move it to "
            "another folder, or run with --overwrite (and without --resume), which deletes it"
        )
        assert file.read_text() == "corrected by a person"
    file.rename(tmp_path / "mine")
    assert predict(*words, "--resume") == 0 and predict.files() == first
    assert len(FakePredictor.seen) == 1
    file.write_text("corrected by a person")
    assert predict(*words, "--overwrite") == 0 and predict.files() == first


def test_a_file_of_others_is_not_replaced(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    predict.output.mkdir()
    file = predict.output / "all_counted.xml"
    file.write_text("mine")
    words = ("--format", "all-counted", "--input", write_picture(tmp_path / "in" / "a.png"))
    message = line_of_refusal(capsys, *predict.words(*words))
    assert "has 1 files that would be replaced, such as all_counted.xml" in message
    # Neither is one that comes while a run is stopped before its end.
    file.unlink()
    stop = write_picture(tmp_path / "in" / "b.png", rows=17)
    assert predict(*words, stop) == 130
    assert capsys.readouterr().err == (
        f"interrupted: finished 1 of 2 images; their results are in {predict.output}, and --resume goes on "
        "with the others, and writes all_counted.json, all_counted.xml at the end\n"
    )
    file.write_text("mine")
    message = line_of_refusal(capsys, *predict.words(*words, "--resume"))
    assert "has 1 files that would be replaced" in message and file.read_text() == "mine"
    assert predict("--input", stop.parent / "a.png", "--format", "json", "--overwrite") == 0
    assert file.read_text() == "mine"


def test_a_graph_that_is_none_stops_no_others(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [write_picture(tmp_path / "in" / f"{name}.png") for name in "ab"]
    to_dict = Prediction.to_dict

    def exchange_corners(self: Prediction, **options: Any) -> SceneGraph:
        graph = to_dict(self, **options)
        if str(self.source).endswith("a.png"):
            graph["entities"][1]["box"].reverse()
        return graph

    monkeypatch.setattr(Prediction, "to_dict", exchange_corners)
    assert predict("--input", *images, "--format", "json", "all-counted") == 1
    assert names(predict) == ["b.png"] and "a.json" not in predict.results()
    assert f"{images[0]} can't be used: its graph: entities[1]" in capsys.readouterr().err


def test_a_format_that_cannot_hold_the_results_is_one_line(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise ValueError("all_counted.json: not written, it holds no dogs")

    image = write_picture(tmp_path / "in" / "a.png")
    words = ("--input", image, "--format", "json", "all-counted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Counted, "check", refuse)
        assert line_of_refusal(capsys, *predict.words(*words)).endswith("it holds no dogs")
        assert not predict.output.exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Counted, "write_all", refuse)
        assert line_of_refusal(capsys, *predict.words(*words)).endswith("it holds no dogs")
    assert predict.results() == ["a.json"]
    assert predict(*words, "--resume") == 0 and len(FakePredictor.seen) == 1
    assert content(predict)["number"] == 1


@pytest.mark.parametrize("line", ['{"version": 1}', "{"], ids=["no graph", "no JSON"])
def test_a_damaged_file_of_the_record_is_named(
    line: str, predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    words = ("--input", write_picture(tmp_path / "in" / "a.png"), "--format", "all-counted")
    assert predict(*words) == 0
    grown = predict.output / "record" / "graphs.jsonl"
    length = grown.stat().st_size
    grown.write_text(line.ljust(length - 1) + "\n")
    found = line_of_refusal(capsys, *predict.words(*words, "--resume"))
    assert f"{grown}, line 1" in found
    grown.write_text(line)
    found = line_of_refusal(capsys, *predict.words(*words, "--resume"))
    assert found.startswith(f"{grown} has {len(line)} bytes, and the record of the run says {length}")
    assert predict(*words) == 0 and names(predict) == ["a.png"]
