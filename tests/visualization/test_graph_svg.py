import re
from xml.etree import ElementTree

import numpy as np
import pytest

from reldn_d2.visualization.graph import SceneGraph
from reldn_d2.visualization.graph_svg import scene_graph_svg

SVG = "{http://www.w3.org/2000/svg}"


def graph_of(classes: list[str], triplets: list[tuple[int, int, str]]) -> SceneGraph:
    return {
        "version": 1,
        "image": {"file_name": "", "width": 100, "height": 100},
        "entities": [
            {"id": i, "class": name, "score": None, "box": [0, 0, 9, 9]} for i, name in enumerate(classes)
        ],
        "relationships": [{"subject": s, "object": o, "predicate": p, "score": None} for s, o, p in triplets],
    }


def texts_of(markup: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(markup).iter(f"{SVG}text")]


def test_every_entity_and_predicate_is_named_and_escaped() -> None:
    markup = scene_graph_svg(graph_of(["<b>", "a & b", "alone"], [(0, 1, "<next to>"), (1, 0, "on")]))
    assert sorted(texts_of(markup)) == ["<b>", "<next to>", "a & b", "on"]
    root = ElementTree.fromstring(markup)
    assert len(list(root.iter(f"{SVG}rect"))) == 2
    assert len(list(root.iter(f"{SVG}polygon"))) == 2


def test_nodes_lie_inside_and_apart() -> None:
    triplets = [(0, i, "has") for i in range(1, 6)] + [(6, 7, "on")]
    root = ElementTree.fromstring(scene_graph_svg(graph_of([f"e{i}" for i in range(8)], triplets)))
    boxes = np.array(
        [[float(r.attrib[k]) for k in ("x", "y", "width", "height")] for r in root.iter(f"{SVG}rect")]
    )
    assert len(boxes) == 8
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= [520, 380]).all()
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    gaps = np.linalg.norm(centres[:, None] - centres[None], axis=-1)[np.triu_indices(8, 1)]
    assert gaps.min() > 40


def test_arrows_end_at_the_plate_of_the_object() -> None:
    root = ElementTree.fromstring(scene_graph_svg(graph_of(["subject", "object"], [(0, 1, "on")])))
    plate = next(r for r in root.iter(f"{SVG}rect") if float(r.attrib["width"]) < 18 + 6.5 * 7.6)
    x, y, width, height = (float(plate.attrib[k]) for k in ("x", "y", "width", "height"))
    line = next(root.iter(f"{SVG}polyline"))
    end_x, end_y = (float(v) for v in line.attrib["points"].split()[-1].split(","))
    assert x - 12 < end_x < x + width + 12 and y - 12 < end_y < y + height + 12
    assert not (x < end_x < x + width and y < end_y < y + height)


@pytest.mark.parametrize(
    ("classes", "triplets"),
    [(["a"], [(0, 0, "of itself")]), (["a"] * 4, [(0, 1, "x"), (2, 3, "y"), (1, 1, "z")]), ([], [])],
)
def test_odd_graphs_have_finite_coordinates(classes: list[str], triplets: list[tuple[int, int, str]]) -> None:
    markup = scene_graph_svg(graph_of(classes, triplets))
    ElementTree.fromstring(markup)
    assert "nan" not in markup and "inf" not in markup


def test_flags_mark_predicates() -> None:
    graph = graph_of(["a", "b"], [(0, 1, "on"), (1, 0, "under")])
    markup = scene_graph_svg(graph, correct=[True, False])
    assert {"\N{CHECK MARK} on", "\N{BALLOT X} under"} <= set(texts_of(markup))
    assert len(re.findall(r"--good", markup)) == len(re.findall(r"--bad", markup)) == 1
