"""label-studio: graphs as tasks, read by our reader and by Label Studio's own package."""

import json
import logging
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from label_studio_sdk.label_interface import LabelInterface

from reldn_d2.data import load_label_studio
from reldn_d2.scene_graphs import FORMATS, About, SceneGraph, build_scene_graph, read_graphs, write_graphs
from reldn_d2.scene_graphs.formats.label_studio import labelling_config
from reldn_d2.structures.vocabulary import Vocabulary
from tests.builders.label_studio_files import annotation, picture, region, relation, task, write_export

KIND = "label-studio"
ODD = "a \"b\" <c> & 'd'"
VOCABULARY = Vocabulary(["cup", ODD, "컵", "unused"], ["on", "next to", ODD])


def graphs() -> list[SceneGraph]:
    first = build_scene_graph(
        {"file_name": "sub/50% + #1.png", "width": 641, "height": 479},
        ["cup", ODD, "컵"],
        [[1.1, 2.2, 333.3, 478.9], [0.0, 0.0, 641.0, 479.0], [600.25, 1 / 3, 640.125, 10.1]],
        [(0, 1, "next to"), (2, 0, "on"), (0, 1, ODD)],
        entity_scores=[0.9, 0.8, 1 / 3],
        relationship_scores=[0.5, 0.4, 0.0],
        predicate_scores=[0.7, 0.6, 0.1],
    )
    people = build_scene_graph(
        {"file_name": "b.png", "width": 7, "height": 9}, ["cup"], [[1, 2, 3, 4]], [(0, 0, "on")]
    )
    return [first, build_scene_graph({"file_name": "none.png", "width": 3, "height": 2}, [], [], []), people]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.json"
    about = About(VOCABULARY, "our model", "/data/local-files/?d=photos/")
    write_graphs(graphs(), path, file_format=KIND, about=about)
    return path


def assert_same(found: list[SceneGraph], expected: list[SceneGraph]) -> None:
    """Everything is equal, boxes to a millionth of a pixel."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        boxes = [[entity["box"] for entity in graph["entities"]] for graph in (one, other)]
        for a, b in zip(*boxes, strict=True):
            assert a == pytest.approx(b, rel=0, abs=1e-6)
        plain = [{**x, "entities": [{**e, "box": []} for e in x["entities"]]} for x in (one, other)]
        assert plain[0] == plain[1]


def test_our_tasks_come_back(written: Path) -> None:
    assert_same(read_graphs(written, file_format=KIND), graphs())
    assert read_graphs(written) == read_graphs(written, file_format=KIND)


def test_our_tasks_hold_what_label_studio_needs(written: Path) -> None:
    first, empty, _ = json.loads(written.read_text())
    assert first["data"] == {"image": "/data/local-files/?d=photos/sub/50%25%20%2B%20%231.png"}
    assert empty["predictions"][0]["result"] == []
    (prediction,) = first["predictions"]
    assert prediction["model_version"] == "our model"
    region, relation = prediction["result"][0], prediction["result"][-1]
    assert (region["id"], region["original_width"], region["image_rotation"]) == ("entity-0", 641, 0)
    assert region["value"]["x"] == pytest.approx(110 / 641)
    assert (relation["from_id"], relation["to_id"], relation["direction"]) == (
        "entity-0",
        "entity-1",
        "right",
    )


def test_label_studios_own_package_reads_our_tasks(written: Path) -> None:
    interface = LabelInterface(written.with_suffix(".xml").read_text(encoding="utf-8"))
    interface.validate()
    for one in json.loads(written.read_text()):
        assert interface.validate_task({"data": one["data"]})
        assert interface.validate_prediction(one["predictions"][0], return_errors=True) == []
    assert set(interface.get_control("label").labels_attrs) == set(VOCABULARY.thing_classes)
    broken = json.loads(written.read_text())[0]["predictions"][0]
    broken["result"][0]["value"]["rectanglelabels"] = ["of no class"]
    assert interface.validate_prediction(broken, return_errors=True)


def test_the_labelling_config_names_all_classes_in_their_order(written: Path) -> None:
    root = ElementTree.fromstring(written.with_suffix(".xml").read_bytes())
    assert [x.get("value") for x in root.iter("Label")] == VOCABULARY.thing_classes
    assert [x.get("value") for x in root.iter("Relation")] == VOCABULARY.predicate_classes
    with pytest.raises(ValueError, match=r"'a\\x00b' holds a character"):
        labelling_config(Vocabulary(["a\0b"], []))


def test_without_a_vocabulary_the_config_has_what_occurs(tmp_path: Path) -> None:
    write_graphs(graphs(), tmp_path / "t.json", file_format=KIND)
    root = ElementTree.fromstring((tmp_path / "t.xml").read_bytes())
    assert [x.get("value") for x in root.iter("Label")] == sorted(["cup", ODD, "컵"])
    assert [x.get("value") for x in root.iter("Relation")] == sorted(["on", "next to", ODD])


@pytest.mark.parametrize("kind", [0, 1])
def test_classes_that_the_vocabulary_lacks_are_refused(tmp_path: Path, kind: int) -> None:
    names = [VOCABULARY.thing_classes, VOCABULARY.predicate_classes]
    names[kind] = names[kind][1:]
    path = tmp_path / "t.json"
    with pytest.raises(
        ValueError,
        match=r"t\.json: not written, the graph of 'sub/50.*: the vocabulary has no "
        rf"{('class', 'predicate')[kind]} .* \((similar: |no similar name)",
    ):
        write_graphs(graphs(), path, file_format=KIND, about=About(Vocabulary(*names)))
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "../../etc/a.jpg", "/etc/a.jpg", "a\\b.png"])
def test_names_that_lead_out_of_the_image_folder_are_refused(tmp_path: Path, name: str) -> None:
    graph = build_scene_graph({"file_name": name, "width": 3, "height": 2}, [], [], [])
    with pytest.raises(ValueError, match=r"t\.json: not written.*relative to the folder of images"):
        write_graphs(graph, tmp_path / "t.json", file_format=KIND)
    assert not any(tmp_path.iterdir())


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    graph = build_scene_graph({"file_name": "a.png", "width": 3, "height": 2}, ["cup"], [[0, 0, 1e9, 1]], [])
    with pytest.raises(ValueError, match=r"t\.json: not written.*entities\[0\] .*far away from its image"):
        write_graphs(graph, tmp_path / "t.json", file_format=KIND)


def test_an_iterator_is_written_whole(tmp_path: Path) -> None:
    FORMATS[KIND].write(iter(graphs()), tmp_path / "t.json", About())
    assert_same(read_graphs(tmp_path / "t.json"), graphs())


def test_if_the_labelling_config_cannot_be_written_nothing_is(written: Path) -> None:
    config, before = written.with_suffix(".xml"), written.read_bytes()
    config.unlink()
    config.mkdir()
    with pytest.raises(OSError, match=r"tasks\.xml"):
        FORMATS[KIND].write(graphs()[:1], written, About())
    assert written.read_bytes() == before


def test_an_xml_file_of_another_kind_is_not_replaced(tmp_path: Path, written: Path) -> None:
    voc = tmp_path / "photo.xml"
    voc.write_text("<annotation><filename>photo.jpg</filename></annotation>")
    with pytest.raises(ValueError, match=r"would replace .*photo\.xml, which is no labelling config"):
        write_graphs(graphs(), tmp_path / "photo.json", file_format=KIND)
    assert voc.read_text().startswith("<annotation>") and not (tmp_path / "photo.json").exists()
    write_graphs(graphs()[:1], written, file_format=KIND)
    assert len(read_graphs(written)) == 1


def test_no_graph_is_an_empty_list(tmp_path: Path) -> None:
    write_graphs([], tmp_path / "t.json", file_format=KIND)
    assert json.loads((tmp_path / "t.json").read_text()) == []


def test_corrections_of_a_person_come_back(written: Path, tmp_path: Path) -> None:
    """The prediction is taken as annotation, with regions in another order, a new one and a new relation."""
    first, *others = json.loads(written.read_text())
    result: list[Any] = first["predictions"][0]["result"]
    new = region("Dx_aB12", "cup", (50, 50, 10, 10), original_width=641, original_height=479)
    result = [new, *result[2::-1], *result[3:], relation("entity-2", "Dx_aB12", "on", direction="left")]
    export = write_export(tmp_path, {**first, "annotations": [annotation(*result)]}, *others)
    expected = graphs()
    record: Any
    for record in (*expected[0]["entities"], *expected[0]["relationships"]):
        record["score"] = None
        record.pop("predicate_score", None)
    box = [320.5, 239.5, 384.6, 287.4]
    expected[0]["entities"].append({"id": 3, "class": "cup", "score": None, "box": box})
    expected[0]["relationships"].append({"subject": 3, "object": 2, "predicate": "on", "score": None})
    assert_same(read_graphs(export, file_format=KIND), expected)


def test_exports_of_others_are_read_as_graphs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    done = task(1, annotation(region("x", "cup", (10, 20, 30, 40))), image="/data/upload/3/1a2b3c4d-one.png")
    skipped = task(2, annotation(was_cancelled=True))
    with caplog.at_level(logging.INFO):
        (graph,) = read_graphs(write_export(tmp_path, done, skipped), file_format=KIND)
    assert "export.json: 1 images; skipped tasks, left out: 1 (first in task 2)" in caplog.text
    assert graph["image"] == {"file_name": "1a2b3c4d-one.png", "width": 200, "height": 100}
    assert graph["entities"] == [{"id": 0, "class": "cup", "score": None, "box": [20, 20, 80, 60]}]
    with caplog.at_level(logging.INFO):
        assert len(read_graphs(write_export(tmp_path, done, task(3, annotation())), file_format=KIND)) == 1
    assert "image has a size that the file does not say, left out: 1 (first in task 3)" in caplog.text
    with pytest.raises(ValueError, match="task 3: the file does not say the size of the image"):
        read_graphs(write_export(tmp_path, task(3, annotation())), file_format=KIND)


BOX = region("x", "cup", (10, 20, 30, 40))


def images(folder: Path, *addresses: str, **more: Any) -> list[dict[str, Any]]:
    tasks = [task(i, annotation(BOX), image=image, **more) for i, image in enumerate(addresses, start=1)]
    return [dict(graph["image"]) for graph in read_graphs(write_export(folder, *tasks), file_format=KIND)]


@pytest.mark.parametrize(
    "meta",
    [
        {"width": 400, "height": 200},
        {"file_name": "other.png", "width": 400, "height": 200},
        {"file_name": "other.png", "width": "200", "height": "100"},
        {"file_name": "other.png"},
        {"file_name": "../other.png", "width": 200, "height": 100},
    ],
)
def test_a_foreign_meta_is_not_taken_for_the_image(tmp_path: Path, meta: dict[str, Any]) -> None:
    assert images(tmp_path, "one.png", meta=meta) == [{"file_name": "one.png", "width": 200, "height": 100}]


@pytest.mark.parametrize(
    ("addresses", "names"),
    [
        (["s3://b/x/c1/1.png", "s3://b/x/c2/1.png"], ["c1/1.png", "c2/1.png"]),
        (["s3://a/1.png", "s3://b/1.png"], ["a/1.png", "b/1.png"]),
        (["/data/local-files/?d=p/sub/a.png", "/data/local-files/?d=p/b.png"], ["sub/a.png", "b.png"]),
        (["https://host/photos/1.png?sig=a", "https://host/photos/2.png"], ["1.png", "2.png"]),
        (["https://host/photo/?id=7", "https://host/photo/?id=8"], ["1", "2"]),
        (["data:image/png;base64,AAAA", "https://host/x/1.png"], ["1", "1.png"]),
        (["/data/upload/3/1a2b3c4d-one.png", "C:\\photos\\one.png"], ["1a2b3c4d-one.png", "2"]),
    ],
)
def test_the_name_of_an_image_is_its_path_below_the_shared_folder(
    tmp_path: Path, addresses: list[str], names: list[str]
) -> None:
    assert [image["file_name"] for image in images(tmp_path, *addresses)] == names


def test_our_tasks_are_no_truth_before_a_person_submits_them(written: Path) -> None:
    picture(written.parent / "b.png")
    with pytest.raises(ValueError, match="no task has an annotation"):
        load_label_studio(written, written.parent)
