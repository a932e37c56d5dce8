import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from reldn_d2.scene_graphs import SceneGraph
from reldn_d2.visualization.draw import draw_scene_graph, side_by_side
from reldn_d2.visualization.labels import PALETTE, edges_to_draw
from reldn_d2.visualization.layout import arc
from reldn_d2.visualization.sheet import Sheet

from .drawn import Drawn, drawings

__all__ = ["drawings"]

Triplet = tuple[int, int, str]


def graph_of(
    boxes: list[list[float]],
    triplets: list[Triplet],
    size: tuple[int, int] = (1000, 500),
    name: str = "person",
) -> SceneGraph:
    return {
        "version": 1,
        "image": {"file_name": "", "width": size[0], "height": size[1]},
        "entities": [{"id": i, "class": name, "score": None, "box": box} for i, box in enumerate(boxes)],
        "relationships": [{"subject": s, "object": o, "predicate": p, "score": None} for s, o, p in triplets],
    }


def scored(graph: SceneGraph, entities: list[float], relationships: list[float]) -> SceneGraph:
    """The graph with scores."""
    for entity, score in zip(graph["entities"], entities, strict=True):
        entity["score"] = score
    for relationship, score in zip(graph["relationships"], relationships, strict=True):
        relationship["score"] = score
    return graph


def grey(width: int = 1000, height: int = 500) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


LEFT, RIGHT = [50.0, 200, 150, 300], [850.0, 200, 950, 300]


def near(image: np.ndarray, colour: str) -> np.ndarray:
    return np.abs(image.astype(int) - np.rint(np.array(to_rgb(colour)) * 255)).max(axis=-1) < 12


def test_without_relationships_entities_are_drawn_and_a_line_says_so(drawings: list[Drawn]) -> None:
    graph = scored(graph_of([LEFT, RIGHT], [(0, 1, "sees")]), [0.9, 0.3], [0.25])
    draw_scene_graph(grey(), graph, score_threshold=0.3)
    assert drawings[-1].words == [
        "person 1 (0.90)",
        "person 2 (0.30)",
        "no relationship with a score of 0.30 or more",
    ]
    assert len(drawings[-1].outlines) == 2 and not drawings[-1].heads
    # No threshold of relationships hides entities, but for those that nobody would look at.
    graph["entities"][1]["score"] = 0.09
    draw_scene_graph(grey(), graph, score_threshold=1)
    assert drawings[-1].words == ["person 1 (0.90)", "no relationship with a score of 1.00 or more"]
    draw_scene_graph(grey(), graph, score_threshold=0.3, entity_threshold=0.95)
    assert drawings[-1].words[1:] == ["no entity with a score of 0.95 or more"]
    draw_scene_graph(grey(), graph, entity_threshold=0.95)
    assert drawings[-1].words == ["no relationship", "no entity with a score of 0.95 or more"]
    draw_scene_graph(grey(), graph_of([], []))
    assert drawings[-1].words == ["no relationship", "no entity"]


def test_thresholds_choose_relationships_and_entities(drawings: list[Drawn]) -> None:
    triplets = [(0, 1, "sees"), (2, 1, "on"), (0, 2, "has")]
    boxes = [LEFT, RIGHT, [450.0, 50, 550, 150], [450.0, 350, 550, 450]]
    graph = scored(graph_of(boxes, triplets), [0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.3])
    draw_scene_graph(grey(), graph, score_threshold=0.4, entity_threshold=0.75)
    assert drawings[-1].words == ["person 1 (0.90)", "person 2 (0.80)", "sees (0.50)"]
    draw_scene_graph(grey(), graph, score_threshold=0.4, entities="all", scores=False)
    assert sorted(drawings[-1].words) == ["on", "person 1", "person 2", "person 3", "person 4", "sees"]
    for name in ("score_threshold", "entity_threshold"):
        with pytest.raises(ValueError, match=f"{name} is 1.5"):
            draw_scene_graph(grey(), graph, **{name: 1.5})


def test_an_entity_without_a_relationship_is_drawn_on_request() -> None:
    graph = graph_of([LEFT, RIGHT], [])
    drawn = draw_scene_graph(grey(), graph, also=[1])
    assert near(drawn, PALETTE[1])[250, 845:855].any()
    assert (drawn[:500, :800] == 128).all()
    together = draw_scene_graph(grey(), graph_of([LEFT, RIGHT], [(0, 0, "sees")]), also=[1, 0])
    assert near(together, PALETTE[0])[250, 45:55].any() and near(together, PALETTE[1])[250, 845:855].any()


def test_the_image_is_at_the_top_left_and_exact_where_nothing_is_drawn() -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 192, 3), dtype=np.uint8)
    larger = cv2.resize(image, (768, 384), interpolation=cv2.INTER_CUBIC)
    small = [[0.0, 0, 10, 10]]
    drawn = draw_scene_graph(image, graph_of(small, [], size=(192, 96)), min_side=768)
    assert (drawn[100:384, :768] == larger[100:]).all() and not (drawn[:50, :50] == larger[:50, :50]).all()
    # The panel is white, and holds a text.
    assert drawn.shape[1] == 768 and (drawn[-3:] == 255).all() and (drawn[384:] < 50).any()
    apart = [[10.0, 10, 20, 20], [150.0, 70, 160, 80]]
    alone = draw_scene_graph(image, graph_of(apart, [(0, 1, "sees")], size=(192, 96)), min_side=768)
    assert alone.shape == (384, 768, 3)


def test_the_arrow_runs_from_subject_to_object_in_the_subjects_colour() -> None:
    drawn = draw_scene_graph(grey(), graph_of([LEFT, RIGHT], [(0, 1, "sees")]))
    subject_colour = near(drawn, PALETTE[0])
    # The arrow crosses every column between the boxes, except at the label in the middle.
    crossed = subject_colour[:, 155:845].any(axis=0)
    assert crossed[:250].all() and crossed[-250:].all()
    # The head is wide and lies at the object.
    thickness = subject_colour[:, 160:900].sum(axis=0)
    assert thickness[-60:].max() > 2 * np.median(thickness[:60])
    # Nothing is drawn far from the boxes and the arrow.
    assert (drawn[380:] == 128).all() and (drawn[:100] == 128).all()


def test_boxes_are_drawn_at_the_scale_of_the_image() -> None:
    drawn = draw_scene_graph(grey(2000, 1000), graph_of([LEFT, RIGHT], [(0, 1, "sees")]))
    assert near(drawn, PALETTE[0])[500:590, 99:102].any(axis=1).all()
    assert near(drawn, PALETTE[1])[500:590, 1899:1902].any(axis=1).all()


@pytest.fixture
def plates(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, np.ndarray]]:
    """The text and the place of every label that is drawn, in the order of the texts of a graph."""
    seen: list[tuple[str, np.ndarray]] = []
    original = Sheet.label

    def label(self: object, box: np.ndarray, text: str, *rest: object) -> None:
        seen.append((text, box))
        original(self, box, text, *rest)

    monkeypatch.setattr(Sheet, "label", label)
    return seen


def test_labels_stay_inside_the_image(plates: list[tuple[str, np.ndarray]]) -> None:
    boxes = [[0.0, 0, 20, 20], [980.0, 0, 1000, 20], [980.0, 480, 1000, 500], [0.0, 480, 20, 500]]
    triplets = [(i, (i + 1) % 4, "in the front of") for i in range(4)]
    drawn = draw_scene_graph(grey(), graph_of(boxes, triplets, name="traffic light"), text_scale=1.5)
    assert len(plates) == 8 and drawn.shape == (500, 1000, 3)
    for _, (x0, y0, x1, y1) in plates:
        assert 0 <= x0 < x1 <= 1000 and 0 <= y0 < y1 <= 500


def test_labels_of_one_pair_do_not_cover_each_other(plates: list[tuple[str, np.ndarray]]) -> None:
    triplets = [(0, 1, "near"), (0, 1, "next to"), (1, 0, "behind"), (0, 1, "sees"), (0, 1, "near")]
    draw_scene_graph(grey(), graph_of([LEFT, RIGHT], triplets))
    assert [text for text, _ in plates] == ["person 1", "person 2", "near", "next to", "behind", "sees"]
    for i, (_, a) in enumerate(plates):
        for _, b in plates[:i]:
            assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])


def test_labels_keep_off_other_arrows(plates: list[tuple[str, np.ndarray]]) -> None:
    # The second arrow crosses the first one in its middle, the first choice for a label.
    graph = graph_of(
        [LEFT, RIGHT, [535, 20, 555, 40], [535, 460, 555, 480]], [(0, 1, "beside"), (2, 3, "above")]
    )
    draw_scene_graph(grey(), graph)
    second = arc(np.array([545.0, 30]), np.array([545.0, 470]), 0.12, 8)
    place = dict(plates)["beside"]
    assert not ((second > place[:2]) & (second < place[2:])).all(axis=1).any()


def test_a_name_lies_in_no_box_of_another_entity_if_there_is_room(
    plates: list[tuple[str, np.ndarray]],
) -> None:
    # The upper edge of the left box, the first choice for its name, lies in the other one.
    boxes = [[100.0, 250, 200, 350], [50.0, 50, 990, 260]]
    draw_scene_graph(grey(), graph_of(boxes, []), entities="all")
    x0, y0, x1, y1 = dict(plates)["person 1"]
    assert min(x1, 990) <= max(x0, 50) or min(y1, 260) <= max(y0, 50)


@pytest.mark.parametrize("scale", [0.4, 0.7, 1, 2])
def test_texts_are_not_wider_than_measured(scale: float) -> None:
    for text in ("traffic light 1 (0.97)", "a very long class name of a thing that goes on", "illicit"):
        sheet = Sheet(800, 560, scale)
        sheet.text((0, 280), text, "black")
        drawn = sheet.over(np.full((560, 800, 3), 255, dtype=np.uint8))
        assert np.flatnonzero((drawn < 128).any(axis=(0, 2))).max() < sheet.text_width(text)


def test_top_n_limits_what_is_drawn(plates: list[tuple[str, np.ndarray]]) -> None:
    graph = graph_of([LEFT, RIGHT, [400, 0, 500, 50]], [(0, 1, "a"), (1, 0, "b"), (2, 0, "c")])
    draw_scene_graph(grey(), graph, top_n=2)
    assert [text for text, _ in plates] == ["person 1", "person 2", "a", "b"]


def test_right_and_wrong_predictions_are_told_apart(plates: list[tuple[str, np.ndarray]]) -> None:
    graph = graph_of([LEFT, RIGHT], [(0, 1, "a"), (1, 0, "b")])
    drawn = draw_scene_graph(grey(), graph, correct=[True, False])
    assert [text for text, _ in plates][2:] == ["\N{CHECK MARK} a", "\N{BALLOT X} b"]
    for (_, box), channel in zip(plates[2:], (1, 0), strict=True):
        x0, y0, x1, y1 = np.rint(box).astype(int)
        assert np.median(drawn[y0:y1, x0:x1], axis=(0, 1)).argmax() == channel
    with pytest.raises(ValueError, match="1 flags for 2"):
        draw_scene_graph(grey(), graph, correct=[True])


@pytest.mark.parametrize(
    ("boxes", "triplet"),
    [
        ([LEFT], (0, 0, "of itself")),
        ([LEFT, LEFT], (0, 1, "same box")),
        ([[10.0, 10, 10, 10], [10.0, 10, 10, 10]], (0, 1, "no area")),
        ([[-500.0, -500, -400, -400], [2000.0, 900, 2100, 950]], (0, 1, "outside")),
        ([LEFT, RIGHT], (0, 1, "costs $\\frac$")),
    ],
)
def test_odd_graphs_are_drawn(boxes: list[list[float]], triplet: Triplet) -> None:
    drawn = draw_scene_graph(grey(), graph_of(boxes, [triplet]))
    assert drawn.shape[0] >= 500 and drawn.shape[1] >= 1000 and (drawn[:500, :1000] != 128).any()


@settings(max_examples=25)
@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_any_image_size_works(width: int, height: int) -> None:
    drawn = draw_scene_graph(grey(width, height), graph_of([LEFT, RIGHT], [(0, 1, "sees")]), min_side=64)
    scale = max(64 / max(width, height), 1)
    # A list may make it larger.
    assert drawn.shape[0] >= round(scale * height) and drawn.shape[1] >= round(scale * width)


@pytest.mark.parametrize(("width", "height"), [(8000, 3), (3, 8000)])
def test_a_picture_without_room_gets_a_list(width: int, height: int, drawings: list[Drawn]) -> None:
    graph = graph_of([LEFT, RIGHT], [(0, 1, "sees")])
    draw_scene_graph(grey(width, height), graph, min_side=64)
    assert {"person 1", "person 2", "person 1 \u2013 sees \u2013 person 2"} <= set(drawings[-1].words)
    assert drawings[-1].height > height


def test_a_crowd_is_drawn(drawings: list[Drawn]) -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 1, (60, 2)) * [900, 400]
    boxes = np.concatenate([corners, corners + random.uniform(2, 150, (60, 2))], axis=1).tolist()
    triplets = [(int(a), int(b), f"p{i}") for i, (a, b) in enumerate(random.integers(0, 60, (100, 2)))]
    draw_scene_graph(grey(), graph_of(boxes, triplets), top_n=100, entities="all")
    words = " ".join(drawings[-1].words)
    assert all(f"p{i}" in words for i in range(100))
    assert all(f"person {i}" in words for i in range(1, 61))


def test_what_finds_no_place_is_listed_with_its_number(drawings: list[Drawn]) -> None:
    # Equal tiny boxes in the corner: no room for so many labels around them.
    graph = scored(graph_of([[0.0, 0, 8, 8]] * 14, [(0, 1, "sees")]), [0.5] * 14, [0.25])
    draw_scene_graph(grey(), graph, entities="all")
    words = drawings[-1].words
    assert sorted(x for x in words if x.startswith("person")) == sorted(
        [f"person {i} (0.50)" for i in range(1, 15)] + ["person 1 \u2013 sees (0.25) \u2013 person 2"]
    )
    # Each number of the list is in the picture, and some rows have none.
    numbers = [word for word in words if word.isdigit()]
    listed = len(drawings[-1].plates) - len(drawings[-1].above(500))
    assert sorted(numbers) == sorted([str(i) for i in range(1, listed + 1)] * 2)
    assert len(words) - len(numbers) > len(drawings[-1].plates) - len(numbers) // 2
    assert drawings[-1].height > 500


def test_wrong_images_are_refused() -> None:
    for image in (np.zeros((10, 10), np.uint8), np.zeros((10, 10, 4), np.uint8), np.zeros((10, 10, 3))):
        with pytest.raises(ValueError, match="uint8"):
            draw_scene_graph(image, graph_of([], []))


def test_side_by_side_keeps_the_pictures() -> None:
    a, b = np.full((240, 100, 3), 10, np.uint8), np.full((480, 300, 3), 200, np.uint8)
    row = side_by_side([a, b], ["ground $ truth", "prediction"])
    assert row.shape == (480 + 21, 100 + 6 + 300, 3)
    assert (row[21:261, :100] == 10).all() and (row[21:, 106:] == 200).all()
    assert (row[261:, :106] == 255).all() and (row[:, 100:106] == 255).all()
    # Titles stay in their columns.
    assert (row[:21, :100] < 100).any() and (row[:21, 106:] < 100).any()
    with pytest.raises(ValueError, match="2 images and 1 titles"):
        side_by_side([a, b], ["one"])


def test_titles_shrink_to_their_columns() -> None:
    pictures = [np.full((300, width, 3), 128, np.uint8) for width in (120, 600)]
    row = side_by_side(pictures, ["a title that is long", "a title that is long"])[:42]
    assert (row[:, :2] == 255).all() and (row[:, 118:132] == 255).all() and (row[:, 10:110] < 100).any()


def test_repeats_are_drawn_once_and_do_not_count() -> None:
    graph = graph_of([LEFT] * 3, [(0, 1, "a"), (0, 1, "a"), (0, 1, "b"), (1, 2, "a")])
    edges = edges_to_draw(graph, 2, [True, False, False, True])
    assert [(e.subject, e.object, e.predicate, e.correct) for e in edges] == [
        (0, 1, "a", True),
        (0, 1, "b", False),
    ]
