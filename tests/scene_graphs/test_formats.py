"""Every format gives the graphs back, and programs that know the format read it too."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pandas as pd
import pyarrow.parquet
import pydot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from reldn_d2.scene_graphs import FORMATS, About, SceneGraph, read_graphs, write_graphs
from reldn_d2.scene_graphs.triplets import COLUMNS, rows_of
from tests.builders.scene_graphs import example_graph, hostile_names, related_only, scene_graphs

TABLES = ("csv", "parquet")
ONE_GRAPH = ("json", "graphml", "gexf", "cytoscape", "dot")
STEP = 2.0**32


def held_by(name: str, graph: SceneGraph) -> SceneGraph | None:
    """What a format holds of a graph; None: nothing."""
    if name in TABLES:
        return related_only(graph) if graph["relationships"] else None
    if name == "shards":
        return in_float32(graph)
    return held_by_coco(graph) if name == "coco-relations" else graph


def in_float32(graph: SceneGraph) -> SceneGraph:
    """A graph with the numbers of shards, which are float32."""

    def rounded(value: Any) -> Any:
        return None if value is None else float(np.float32(value))

    entities: list[Any] = [
        {**x, "score": rounded(x["score"]), "box": [rounded(corner) for corner in x["box"]]}
        for x in graph["entities"]
    ]
    relationships: list[Any] = [
        {**x, **{key: rounded(x[key]) for key in ("score", "predicate_score") if key in x}}
        for x in graph["relationships"]
    ]
    return {**graph, "entities": entities, "relationships": relationships}


def held_by_coco(graph: SceneGraph) -> SceneGraph:
    """Boxes as COCO holds them, without entities that have no area and their relationships."""
    width, height = graph["image"]["width"], graph["image"]["height"]
    kept: list[Any] = []
    number = {}
    for entity in graph["entities"]:
        x0, y0, x1, y1 = (round(x * STEP) / STEP for x in entity["box"])
        box = [max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)]
        if box[0] < box[2] and box[1] < box[3]:
            number[entity["id"]] = len(kept)
            kept.append({**entity, "id": len(kept), "box": box})
    relationships: list[Any] = [
        {**x, "subject": number[x["subject"]], "object": number[x["object"]]}
        for x in graph["relationships"]
        if x["subject"] in number and x["object"] in number
    ]
    return {**graph, "entities": kept, "relationships": relationships}


def assert_held(name: str, found: list[SceneGraph], graphs: list[SceneGraph]) -> None:
    """What was read is what the format holds of the graphs, exactly, or per cent up to rounding."""
    expected = [x for x in (held_by(name, graph) for graph in graphs) if x is not None]
    if name == "label-studio":
        for one, other in zip(found, expected, strict=True):
            for a, b in zip(one["entities"], other["entities"], strict=True):
                assert a["box"] == pytest.approx(b["box"], rel=0, abs=1e-6)
                a["box"] = b["box"]
    assert found == expected
    # Equal lists may hold True and 1, or -0.0 and 0.0.
    assert as_numbers(found) == as_numbers(expected)


def file_of(name: str, folder: Path) -> Path:
    return folder / f"graphs{FORMATS[name].ending}"


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25)
@given(graph=scene_graphs())
def test_a_graph_comes_back(name: str, tmp_path: Path, graph: SceneGraph) -> None:
    write_graphs(graph, file_of(name, tmp_path), file_format=name)
    assert_held(name, read_graphs(file_of(name, tmp_path), file_format=name), [graph])


def as_numbers(graphs: list[SceneGraph]) -> str:
    """The graphs as text, in which the integers of boxes and scores are floats."""

    def plain(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: plain(item, name) for name, item in sorted(value.items())}
        if isinstance(value, list):
            return [plain(item, key) for item in value]
        return float(value) if key in ("box", "score", "predicate_score") and value is not None else value

    return json.dumps(plain(graphs))


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40)
@given(graph=scene_graphs(hostile_names, hostile_names))
def test_hostile_names_come_back_or_are_refused(name: str, tmp_path: Path, graph: SceneGraph) -> None:
    path = file_of(name, tmp_path)
    path.unlink(missing_ok=True)
    try:
        write_graphs(graph, path, file_format=name)
    except ValueError as error:
        assert str(path) in str(error)
        assert re.search("use json|write one character", str(error))
        assert not path.exists()
        return
    assert_held(name, read_graphs(path, file_format=name), [graph])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "text", ["\x00", "a\x1bb", "\r", "\udcff", "\ufffe", "a\x7f\x85b", "$x$", "n" * 50_000]
)
def test_each_hostile_character(name: str, tmp_path: Path, text: str) -> None:
    graph = example_graph()
    graph["entities"][0]["class"] = text
    path = file_of(name, tmp_path)
    in_no_xml = text in ("\x00", "a\x1bb", "\r", "\udcff", "\ufffe")
    if (name in ("graphml", "gexf", "dot", "label-studio") and in_no_xml) or (
        name in ("parquet", "shards") and text == "\udcff"
    ):
        with pytest.raises(
            ValueError, match=r"graphs\.\w+: not written, the graph of 'party/한국.jpg': .*use json"
        ):
            write_graphs(graph, path, file_format=name)
    else:
        write_graphs(graph, path, file_format=name)
        assert read_graphs(path, file_format=name)[0]["entities"][0]["class"] == text


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ONE_GRAPH])
@settings(max_examples=25)
@given(graphs=st.lists(scene_graphs(), max_size=4, unique_by=lambda graph: graph["image"]["file_name"]))
def test_several_graphs_come_back(name: str, tmp_path: Path, graphs: list[SceneGraph]) -> None:
    write_graphs(graphs, file_of(name, tmp_path), file_format=name)
    assert_held(name, read_graphs(file_of(name, tmp_path), file_format=name), graphs)


@pytest.mark.parametrize("name", ONE_GRAPH)
def test_files_with_one_graph_say_which_format_takes_several(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one graph, not 2: use jsonl"):
        write_graphs([example_graph()] * 2, file_of(name, tmp_path), file_format=name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", TABLES)
def test_tables_refuse_two_graphs_of_one_image(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"two graphs are of the image 'party/한국.jpg'.*use jsonl"):
        write_graphs([example_graph()] * 2, file_of(name, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("coco-relations", "shards")])
def test_the_ending_says_the_format(name: str, tmp_path: Path) -> None:
    write_graphs(example_graph(), file_of(name, tmp_path))
    (graph,) = read_graphs(file_of(name, tmp_path))
    assert graph == held_by(name, example_graph())


def test_the_keys_of_json_say_the_format(tmp_path: Path) -> None:
    write_graphs(example_graph(), tmp_path / "data.json", file_format="coco-relations")
    assert read_graphs(tmp_path / "data.json") == [held_by_coco(example_graph())]
    (tmp_path / "other.json").write_text('{"boxes": [], "labels": []}')
    with pytest.raises(
        ValueError, match=r"other\.json has the keys 'boxes', 'labels'.*coco-relations needs annot"
    ):
        read_graphs(tmp_path / "other.json")
    (tmp_path / "min.json").write_text('[{"id": 1, "image": "/a.jpg", "label": []}]')
    with pytest.raises(ValueError, match=r"min\.json: task 1: .*JSON-MIN.*Export as JSON"):
        read_graphs(tmp_path / "min.json")
    (tmp_path / "graphs.json").write_text(json.dumps([example_graph()]))
    with pytest.raises(ValueError, match=r"graphs\.json is a list of graphs: .*\.jsonl"):
        read_graphs(tmp_path / "graphs.json")
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(ValueError, match=r"coco\.json has the keys .*coco-relations needs .*relations"):
        read_graphs(tmp_path / "coco.json")
    (tmp_path / "nothing.json").write_text("[]")
    with pytest.raises(ValueError, match=r"nothing\.json holds an empty list"):
        read_graphs(tmp_path / "nothing.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"list\.json has no object with keys"):
        read_graphs(tmp_path / "list.json")


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_graph_gives_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_graphs(example_graph(), tmp_path / "a", file_format=name)
    monkeypatch.setattr("time.strftime", lambda *_: "1999-12-31")
    write_graphs(example_graph(), tmp_path / "b", file_format=name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_columns_of_parquet_say_the_format(tmp_path: Path) -> None:
    write_graphs(example_graph(), tmp_path / "a.parquet", file_format="shards")
    assert read_graphs(tmp_path / "a.parquet") == [in_float32(example_graph())]


def test_an_unknown_ending_is_named(tmp_path: Path) -> None:
    for call in (lambda path: write_graphs(example_graph(), path), read_graphs):
        with pytest.raises(ValueError, match=r"a\.xyz: no format has the ending '\.xyz'.*graphml"):
            call(tmp_path / "a.xyz")


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"graphs{FORMATS[name].ending}.*check the path"):
        read_graphs(file_of(name, tmp_path), file_format=name)


def test_what_is_no_graph_is_not_written(tmp_path: Path) -> None:
    graph = example_graph()
    graph["relationships"][0]["object"] = 4
    with pytest.raises(
        ValueError, match=r"a\.csv: not written: graph 2: relationships\[0\] has the object 4"
    ):
        write_graphs([example_graph(), graph], tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def node_values(entity: Any) -> dict[str, Any]:
    corners = dict(zip(("x0", "y0", "x1", "y1"), entity["box"], strict=True))
    return {"name": entity["class"], "score": entity["score"], **corners}


def edge_values(graph: SceneGraph) -> list[dict[str, Any]]:
    return [
        {**x, "subject": str(x["subject"]), "object": str(x["object"]), "rank": rank}
        for rank, x in enumerate(graph["relationships"], start=1)
    ]


def read_cytoscape(path: Path) -> networkx.MultiDiGraph:
    return networkx.cytoscape_graph(json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("name", "reader"),
    [("graphml", networkx.read_graphml), ("gexf", networkx.read_gexf), ("cytoscape", read_cytoscape)],
    ids=["graphml", "gexf", "cytoscape"],
)
def test_networkx_reads_it(name: str, reader: Callable[[Path], Any], tmp_path: Path) -> None:
    graph = example_graph()
    write_graphs(graph, file_of(name, tmp_path))
    found = reader(file_of(name, tmp_path))
    assert isinstance(found, networkx.MultiDiGraph)
    for entity in graph["entities"]:
        values = found.nodes[str(entity["id"])]
        assert node_values(entity).items() <= values.items()
        assert values["label"] == entity["class"]
    edges = [{**values, "subject": u, "object": v} for u, v, values in found.edges(data=True)]
    edges.sort(key=lambda edge: int(edge["rank"]))
    for edge, expected in zip(edges, edge_values(graph), strict=True):
        assert expected.items() <= edge.items()
    image = json.loads(found.graph["name"]) if name == "gexf" else found.graph
    assert graph["image"].items() <= image.items()


def test_pydot_reads_dot(tmp_path: Path) -> None:
    graph = example_graph()
    write_graphs(graph, tmp_path / "a.dot")
    (found,) = pydot.graph_from_dot_file(str(tmp_path / "a.dot"), encoding="utf-8")
    assert found.get_type() == "digraph"
    assert json.loads(found.get_attributes()["file_name"]) == graph["image"]["file_name"]
    nodes = {json.loads(node.get_name()): node.get_attributes() for node in found.get_node_list()}
    assert len(nodes) == len(graph["entities"])
    for entity in graph["entities"]:
        values = {key: json.loads(value) for key, value in nodes[str(entity["id"])].items()}
        assert values["label"] == entity["class"]
        assert [float(values[key]) for key in ("x0", "y0", "x1", "y1")] == entity["box"]
        assert float(values["score"]) == entity["score"]
    edges = sorted(found.get_edge_list(), key=lambda edge: int(json.loads(edge.get_attributes()["rank"])))
    for edge, expected in zip(edges, edge_values(graph), strict=True):
        values = {key: json.loads(value) for key, value in edge.get_attributes().items()}
        assert json.loads(edge.get_source()) == expected["subject"]
        assert json.loads(edge.get_destination()) == expected["object"]
        assert values["label"] == expected["predicate"]
        assert float(values["score"]) == expected["score"]


def test_pandas_reads_csv(tmp_path: Path) -> None:
    write_graphs(example_graph(), tmp_path / "a.csv")
    texts = {name: str for name, kind in COLUMNS.items() if kind is str}
    # The parser of pandas may miss the last bit of a number.
    floats = {name: float for name, kind in COLUMNS.items() if kind is float}
    table = pd.read_csv(tmp_path / "a.csv", dtype=texts, converters=floats, keep_default_na=False)
    assert_is_the_table(table)


def test_pandas_and_arrow_read_parquet(tmp_path: Path) -> None:
    write_graphs(example_graph(), tmp_path / "a.parquet")
    assert_is_the_table(pd.read_parquet(tmp_path / "a.parquet"))
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet", page_checksum_verification=True)
    assert table.to_pylist() == [dict(zip(COLUMNS, row, strict=True)) for row in rows_of(example_graph())]


def assert_is_the_table(table: pd.DataFrame) -> None:
    assert list(table.columns) == list(COLUMNS)
    rows = [list(row) for row in table.itertuples(index=False)]
    assert rows == list(rows_of(example_graph()))
    for name, kind in COLUMNS.items():
        assert pd.api.types.is_numeric_dtype(table[name]) == (kind is not str)


def test_pycocotools_reads_coco_relations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = example_graph()
    write_graphs(graph, tmp_path / "a.json", file_format="coco-relations", about=About(model="my model"))
    coco = COCO(str(tmp_path / "a.json"))
    assert coco.dataset["info"] == {"model": "my model"}
    (image,) = coco.loadImgs(coco.getImgIds())
    assert image == {"id": 1, **graph["image"]}
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert [x["id"] for x in annotations] == [1, 2, 3, 4]
    names = {x["id"]: x["name"] for x in coco.loadCats(coco.getCatIds())}
    for annotation, entity in zip(annotations, graph["entities"], strict=True):
        assert names[annotation["category_id"]] == entity["class"]
        assert annotation["score"] == entity["score"]
        x, y, width, height = annotation["bbox"]
        np.testing.assert_allclose([x, y, x + width, y + height], entity["box"], rtol=0, atol=2**-32)
