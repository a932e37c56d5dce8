"""What a reader needs, measured on what is drawn: nothing covers a label, and labels cover little.

The layouts are generated: few and many entities, of all sizes, spread out or in a heap.
"""

import numpy as np
import pytest

from reldn_d2.scene_graphs import SceneGraph, build_scene_graph
from reldn_d2.visualization import draw, places
from reldn_d2.visualization.draw import draw_scene_graph
from reldn_d2.visualization.graph_svg import scene_graph_svg
from reldn_d2.visualization.labels import Edge

from .drawn import Drawn, crossings, drawings, overlaps

__all__ = ["drawings"]

WIDTH, HEIGHT = 800, 560
NAMES = ("person", "cup", "traffic light", "dog", "\N{HANGUL SYLLABLE GAE}", "tree")
PREDICATES = ("on", "next to", "in the front of", "wears", "has")


def layout(seed: int) -> SceneGraph:
    """A graph with up to 12 entities and 15 relationships, every tenth with up to 30 and 40."""
    random, crowd = np.random.default_rng(seed), 1 if seed % 10 else 2.6
    number = int(random.integers(1, 12 * crowd))
    heap = random.uniform(0.1, 1)
    centres = random.uniform(0.5 - heap / 2, 0.5 + heap / 2, (number, 2)) * [WIDTH, HEIGHT]
    sizes = np.exp(random.uniform(np.log(3), np.log(400), (number, 2)))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    ends = random.integers(0, number, (int(random.integers(0, 15 * crowd)), 2)).tolist()
    triplets = [(s, o, PREDICATES[random.integers(0, 5)]) for s, o in ends]
    return build_scene_graph(
        {"file_name": "", "width": WIDTH, "height": HEIGHT},
        [NAMES[i] for i in random.integers(0, len(NAMES), number)],
        boxes.tolist(),
        triplets,
        entity_scores=random.random(number).tolist(),
        relationship_scores=random.random(len(triplets)).tolist(),
    )


def faults(drawn: Drawn, boxes: np.ndarray, height: float = np.inf) -> list[str]:
    """What a reader would complain about. `boxes` are those of the drawn entities (n, 4)."""
    found = []
    # In node-link drawings, arrows begin and end at plates.
    inset = np.array([1, 1, -1, -1]) * (0 if len(boxes) else 1.5)
    plates = drawn.above(height) + inset
    shared = overlaps(drawn.plates, drawn.plates)
    if (shared[~np.eye(len(shared), dtype=bool)] > 0).any():
        found.append("a label on a label")
    if (overlaps(plates, drawn.dots) > 0).any():
        found.append("a label on a dot")
    for points, width in drawn.lines:
        # A leader line is thin, and begins at its label.
        if crossings(points, width if width > 2 else 0, plates).any():
            found.append("a line through a label")
    top = min(height, drawn.height)
    for points in [*(points for points, _ in drawn.lines), *drawn.heads]:
        if (points < 0).any() or (points > [drawn.width if top == np.inf else WIDTH, top]).any():
            found.append("an arrow outside the photo")
    for corners in drawn.heads:
        if crossings(np.concatenate([corners, corners[:1]]), 0, plates).any():
            found.append("a head of an arrow below a label")
    if len(plates) and len(boxes):
        areas = np.maximum((boxes[:, 2:] - boxes[:, :2]), 8 * WIDTH / 1000).prod(axis=1)
        if (overlaps(plates, boxes) / areas > places.MOST_COVERED).any():
            found.append("a label that hides an entity")
        if (plates < 0).any() or (plates > [WIDTH, HEIGHT] * 2).any():
            found.append("a label that sticks out")
    return found


# Two parts are for every day. The other six have layouts of the same kinds.
@pytest.mark.parametrize(
    "part", [0, 1, *(pytest.param(part, marks=pytest.mark.slow) for part in range(2, 8))]
)
def test_labels_of_200_layouts_can_be_read(part: int, drawings: list[Drawn]) -> None:
    picture = np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8)
    for seed in range(25 * part, 25 * part + 25):
        graph = layout(seed)
        draw_scene_graph(picture, graph, top_n=40, entities="all")
        boxes = np.clip([entity["box"] for entity in graph["entities"]], 0, [WIDTH, HEIGHT] * 2)
        assert not faults(drawings[-1], boxes, HEIGHT), f"layout {seed}"
        # Nothing is left out: each name and each triplet is in the picture or in the list, with its score.
        words = drawings[-1].words
        assert len(drawings[-1].outlines) == len(boxes)
        pairs = {(r["subject"], r["object"]) for r in graph["relationships"]}
        assert len(drawings[-1].heads) == len(pairs)
        triplets = {(r["subject"], r["object"], r["predicate"]): r["score"] for r in graph["relationships"]}
        labels = [word for word in words if not word.isdigit()]
        assert len(labels) == len(boxes) + len({*triplets}) + (not triplets)
        # Each number of the list is in the picture once.
        numbers = sorted(word for word in words if word.isdigit())
        listed = len(drawings[-1].plates) - len(drawings[-1].above(HEIGHT))
        assert numbers == sorted(2 * [str(i + 1) for i in range(listed)])


@pytest.mark.parametrize("side", [34, 3])
@pytest.mark.parametrize("edge", ["left", "top", "right", "bottom", "corners"])
def test_arrows_between_boxes_along_an_edge_stay_in_the_photo(
    edge: str, side: int, drawings: list[Drawn]
) -> None:
    right, bottom, along = WIDTH - side, HEIGHT - side, np.linspace(0, 1, 6)
    corners = {
        "left": [(0, y) for y in along * bottom],
        "top": [(x, 0) for x in along * right],
        "right": [(right, y) for y in along * bottom],
        "bottom": [(x, bottom) for x in along * right],
        "corners": [(x, y) for x in (0, right) for y in (0, 1, bottom)],
    }[edge]
    boxes = np.array([[x, y, x + side, y + side] for x, y in corners], dtype=float)
    pairs = [(s, o, "on") for s, o in np.ndindex(6, 6)]
    graph = build_scene_graph({"file_name": "", "width": WIDTH, "height": HEIGHT}, NAMES, boxes, pairs)
    draw_scene_graph(np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8), graph, top_n=36)
    assert len(drawings[-1].heads) == 36 and drawings[-1].height > HEIGHT
    assert not faults(drawings[-1], boxes, HEIGHT)


def test_arrows_on_one_straight_line_bend_apart() -> None:
    anchors = {0: np.array([40.0, 300]), 1: np.array([720.0, 300]), 2: np.array([760.0, 300])}
    pairs = [(0, 1), (0, 2), (2, 0), (0, 1)]
    curves = draw._curves(anchors, [Edge(*pair, "on", None) for pair in pairs], np.array([800, 560]), 0.8)
    assert list(curves) == pairs[:3]
    middles = np.array([curve[48, 1] for curve in curves.values()])
    assert (np.abs(middles[:, None] - middles)[np.triu_indices(3, 1)] > 24).all()


def test_the_measure_finds_faults(drawings: list[Drawn], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same layouts have faults if every place counts as free."""
    monkeypatch.setattr(places.Places, "_free", lambda self, candidates, pair: np.ones(len(candidates), bool))
    picture, found = np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8), set()
    for seed in range(10):
        graph = layout(seed)
        draw_scene_graph(picture, graph, top_n=40, entities="all")
        boxes = np.clip([entity["box"] for entity in graph["entities"]], 0, [WIDTH, HEIGHT] * 2)
        found |= set(faults(drawings[-1], boxes, HEIGHT))
    assert found >= {
        "a label on a label",
        "a label on a dot",
        "a line through a label",
        "a label that hides an entity",
        "a head of an arrow below a label",
    }


def test_labels_of_node_link_drawings_can_be_read(drawings: list[Drawn]) -> None:
    for seed in range(12):
        graph = layout(seed)
        graph["relationships"] = graph["relationships"][:10]
        scene_graph_svg(graph)
        if graph["relationships"]:
            assert not faults(drawings[-1], np.zeros((0, 4))), f"layout {seed}"
