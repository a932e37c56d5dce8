"""Graphs as COCO-relations files, which are data sets."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.data import load_coco_relations, register_coco_relations
from reldn_d2.scene_graphs import FORMATS, About, SceneGraph, read_graphs, write_graphs
from reldn_d2.structures.vocabulary import Vocabulary
from tests.builders.scene_graphs import example_graph

VOCABULARY = Vocabulary(["person", "dog", "컵", "cup", "1"], ["holds", "under", "on", "007"])


def write(graphs: Any, path: Path, about: About | None = None) -> None:
    write_graphs(graphs, path, file_format="coco-relations", about=about)


def test_the_file_is_a_data_set(tmp_path: Path) -> None:
    write([example_graph()], tmp_path / "a.json", About(vocabulary=VOCABULARY))
    register_coco_relations("graphs_as_data", {}, tmp_path / "a.json", tmp_path / "images")
    try:
        (found,) = DatasetCatalog.get("graphs_as_data")
        metadata = MetadataCatalog.get("graphs_as_data")
        assert metadata.thing_classes == VOCABULARY.thing_classes
        assert metadata.predicate_classes == VOCABULARY.predicate_classes
    finally:
        DatasetCatalog.remove("graphs_as_data")
        MetadataCatalog.remove("graphs_as_data")
    assert found["file_name"] == str(tmp_path / "images" / "party" / "한국.jpg")
    assert (found["width"], found["height"]) == (64, 48)
    np.testing.assert_array_equal(found["annotations"].classes, [0, 3, 4, 2])
    np.testing.assert_array_equal(found["relations"], [[1, 0, 2], [0, 1, 0], [2, 2, 3], [0, 1, 0], [0, 1, 2]])


def test_names_without_a_vocabulary_are_sorted(tmp_path: Path) -> None:
    write(example_graph(), tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["categories"] == [
        {"id": i, "name": name} for i, name in enumerate(["1", "cup", "person", "컵"], start=1)
    ]
    assert [x["name"] for x in content["predicates"]] == ["007", "holds", "on"]
    assert "info" not in content


def test_a_class_that_the_vocabulary_lacks(tmp_path: Path) -> None:
    graph = example_graph()
    graph["entities"][1]["class"] = "cupp"
    with pytest.raises(
        ValueError,
        match=r"the graph of 'party/한국.jpg': the vocabulary has no class 'cupp' \(similar: 'cup'\)",
    ):
        write(graph, tmp_path / "a.json", About(vocabulary=VOCABULARY))
    graph = example_graph()
    graph["relationships"][0]["predicate"] = "undr"
    with pytest.raises(ValueError, match=r"the vocabulary has no predicate 'undr' \(similar: 'under'\)"):
        write(graph, tmp_path / "a.json", About(vocabulary=VOCABULARY))
    assert not list(tmp_path.iterdir())


def test_boxes_without_an_area_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    graph = example_graph()
    graph["entities"][1]["box"] = [5.0, 7.0, 5.0, 12.0]  # no width
    graph["entities"][3]["box"] = [64.0, 1.0, 64.5, 2.0]  # none in the image
    with caplog.at_level(logging.WARNING, logger="reldn_d2.scene_graphs"):
        write([example_graph(), graph], tmp_path / "a.json")
    (message,) = (x.getMessage() for x in caplog.records if "without an area" in x.getMessage())
    assert "a.json: 2 entities without an area in their image and 4 relationships" in message
    whole, found = read_graphs(tmp_path / "a.json")
    assert (len(whole["entities"]), len(whole["relationships"])) == (4, 5)
    assert [x["class"] for x in found["entities"]] == ["person", "1"]
    assert [(x["subject"], x["object"]) for x in found["relationships"]] == [(1, 1)]


def test_boxes_that_stick_out_are_clipped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """PublishedRelDN finds boxes that end in the padding, and some that lie in it."""
    graph = example_graph()
    graph["entities"][1]["box"] = [5.0, 7.0, 9.0, 49.5]
    graph["entities"][2]["box"] = [60.0, 7.0, 64.5, 9.0]  # not counted, it is only half a pixel
    graph["entities"][3]["box"] = [70.0, 7.0, 75.0, 9.0]
    with caplog.at_level(logging.WARNING, logger="reldn_d2.scene_graphs"):
        write(graph, tmp_path / "a.json")
    text = " ".join(x.getMessage() for x in caplog.records)
    assert "a.json: 1 entities without an area in their image and" in text
    assert "a.json: 1 boxes that stick out of their image are clipped" in text
    (found,) = read_graphs(tmp_path / "a.json")
    assert [x["box"] for x in found["entities"][1:]] == [[5.0, 7.0, 9.0, 48.0], [60.0, 7.0, 64.0, 9.0]]


@pytest.mark.parametrize("name", ["", "../a.jpg", "/photos/a.jpg", "C:\\a.jpg", "http://a/b.jpg"])
def test_names_of_images_that_no_data_set_takes(name: str, tmp_path: Path) -> None:
    graph = example_graph()
    graph["image"]["file_name"] = name
    with pytest.raises(ValueError, match="relative to the folder of images"):
        write(graph, tmp_path / "a.json")


def test_a_file_without_scores_is_of_people(tmp_path: Path) -> None:
    graph: Any = example_graph()
    for entity in graph["entities"]:
        entity["score"] = None
    for relationship in graph["relationships"]:
        relationship["score"] = None
        del relationship["predicate_score"]
    write(graph, tmp_path / "a.json")
    assert "score" not in (tmp_path / "a.json").read_text()
    (found,) = read_graphs(tmp_path / "a.json")
    assert found["relationships"] == graph["relationships"]
    assert {x["score"] for x in found["entities"]} == {None}


@pytest.mark.parametrize("score", [97, -0.1, "0.5", True])
def test_scores_matter_to_graphs_alone(score: Any, tmp_path: Path) -> None:
    write(example_graph(), tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    content["annotations"][2]["score"] = score
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"annotation 3: its score is {score!r}"):
        read_graphs(tmp_path / "a.json")
    assert len(load_coco_relations(tmp_path / "a.json", "")) == 1


def test_graphs_are_gone_through_one_by_one(tmp_path: Path) -> None:
    """No pass keeps graphs, so a file of any number of graphs can be written."""

    class Once:
        """Makes a graph when it is asked for, and knows how many are alive."""

        alive = most = passes = 0

        def __iter__(self) -> Iterator[SceneGraph]:
            Once.passes += 1
            for number in range(20):
                graph = _Counted(example_graph())
                graph["image"] = {**graph["image"], "file_name": f"{number}.jpg"}
                yield graph  # type: ignore[misc]

    class _Counted(dict[str, Any]):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            Once.alive += 1
            Once.most = max(Once.most, Once.alive)

        def __del__(self) -> None:
            Once.alive -= 1

    FORMATS["coco-relations"].write(Once(), tmp_path / "a.json", About())
    assert Once.passes > 1
    assert Once.most <= 2
    assert len(read_graphs(tmp_path / "a.json")) == 20
    # An iterator, which can be gone through once, works too.
    FORMATS["coco-relations"].write(iter(Once()), tmp_path / "b.json", About())
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()
