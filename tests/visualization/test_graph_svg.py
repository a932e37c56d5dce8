import re

import numpy as np
import pytest

from reldn_d2.scene_graphs import SceneGraph
from reldn_d2.visualization.graph_svg import scene_graph_svg
from reldn_d2.visualization.labels import PALETTE

from .svg_parts import extent, paths_of, texts_of


def graph_of(classes: list[str], triplets: list[tuple[int, int, str]]) -> SceneGraph:
    return {
        "version": 1,
        "image": {"file_name": "", "width": 100, "height": 100},
        "entities": [
            {"id": i, "class": name, "score": None, "box": [0, 0, 9, 9]} for i, name in enumerate(classes)
        ],
        "relationships": [{"subject": s, "object": o, "predicate": p, "score": None} for s, o, p in triplets],
    }


def plates_of(markup: str) -> np.ndarray:
    """(n, 4) boxes of the nodes, in the order of their entities: filled shapes with a dark rim."""
    return np.array([extent(plate) for plate in paths_of(markup, "stroke: #101418")]).reshape(-1, 4)


def arrow_of(markup: str, colour: str) -> np.ndarray:
    """(n, 2) points of the arrow of one colour, without its head. Its label may interrupt it."""
    return np.concatenate(paths_of(markup, f"stroke: {colour}", "fill: none"))


def test_every_entity_and_predicate_is_named_and_escaped() -> None:
    graph = graph_of(["<b>", "a & $b$", "alone"], [(0, 1, "<next to>"), (1, 0, "on")])
    markup = scene_graph_svg(graph)
    assert sorted(texts_of(markup)) == ["<b>", "<next to>", "a & $b$", "on"]
    assert len(plates_of(markup)) == 2
    assert len(arrow_of(markup, PALETTE[0])) > 20 and len(arrow_of(markup, PALETTE[1])) > 20


def test_nodes_lie_inside_and_apart() -> None:
    triplets = [(0, i, "has") for i in range(1, 6)] + [(6, 7, "on")]
    boxes = plates_of(scene_graph_svg(graph_of([f"e{i}" for i in range(8)], triplets)))
    assert len(boxes) == 8
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [520, 380]).all()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    gaps = np.linalg.norm(centres[:, None] - centres[None], axis=-1)[np.triu_indices(8, 1)]
    assert gaps.min() > 40


def test_related_nodes_lie_nearer_than_others() -> None:
    names, triplets = [f"e{i}" for i in range(6)], [(0, 1, "a"), (1, 2, "a"), (3, 4, "a"), (4, 5, "a")]
    boxes = plates_of(scene_graph_svg(graph_of(names, triplets)))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    gaps = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    related = [gaps[subject, object] for subject, object, _ in triplets]
    assert max(related) < gaps[[0, 0, 2, 2], [4, 5, 4, 5]].min()


def test_arrows_end_at_the_plate_of_the_object() -> None:
    markup = scene_graph_svg(graph_of(["subject", "object"], [(0, 1, "on")]))
    x0, y0, x1, y1 = plates_of(markup)[1]
    arrow = arrow_of(markup, PALETTE[0])
    x, y = arrow[-1]
    assert x0 - 12 < x < x1 + 12 and y0 - 12 < y < y1 + 12
    assert not (x0 < x < x1 and y0 < y < y1)


def test_an_arrow_from_a_node_to_itself_leaves_its_plate() -> None:
    markup = scene_graph_svg(graph_of(["a"], [(0, 0, "of itself")]))
    arrow = arrow_of(markup, PALETTE[0])
    x0, y0, x1, y1 = plates_of(markup)[0]
    inside = (arrow > [x0, y0]).all(axis=1) & (arrow < [x1, y1]).all(axis=1)
    assert not inside.any()
    assert (arrow > 0).all() and arrow[:, 1].min() < y0 - 10


@pytest.mark.parametrize(
    ("classes", "triplets"),
    [
        (["a"], [(0, 0, "of itself")]),
        (["a"] * 4, [(0, 1, "x"), (2, 3, "y"), (1, 1, "z")]),
        (["long " * 30] * 2, [(0, 1, "x")]),
        (["a"] * 80, [(i, i + 1, "x") for i in range(79)]),
        ([], []),
    ],
)
def test_odd_graphs_have_finite_coordinates(classes: list[str], triplets: list[tuple[int, int, str]]) -> None:
    markup = scene_graph_svg(graph_of(classes, triplets), top_n=100)
    assert len(plates_of(markup)) == len(classes)
    assert not re.search(r'[ ="](nan|inf)\b', markup)


def test_no_relationship_says_so() -> None:
    assert texts_of(scene_graph_svg(graph_of(["a"], []))) == ["no relationship"]


def test_too_many_entities_are_refused() -> None:
    graph = graph_of(["a"] * 501, [(i, i + 1, "x") for i in range(500)])
    with pytest.raises(ValueError, match=r"501 entities.*top_n"):
        scene_graph_svg(graph, top_n=1000)


def test_flags_mark_predicates() -> None:
    graph = graph_of(["a", "b"], [(0, 1, "on"), (1, 0, "under")])
    markup = scene_graph_svg(graph, correct=[True, False])
    assert {"\N{CHECK MARK} on", "\N{BALLOT X} under"} <= set(texts_of(markup))
    green, red = "#007a59", "#b34700"
    assert len(re.findall(f"fill: {green}", markup)) == len(re.findall(f"fill: {red}", markup)) == 1


def test_drawings_can_share_a_page_and_do_not_depend_on_random_numbers() -> None:
    graph = graph_of(["a", "b", "c"], [(0, 1, "on"), (1, 2, "under")])
    np.random.seed(0)
    markup, drawn = scene_graph_svg(graph), np.random.random()
    np.random.seed(0)
    assert np.random.random() == drawn
    assert markup == scene_graph_svg(graph)
    assert markup.startswith("<svg ") and 'aria-label="scene graph: a on b, b under c"' in markup
    assert not re.search(r"\bid=|href=|url\(|<style|<metadata|<\?xml", markup)
