import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from reldn_d2.scene_graphs import SceneGraph
from reldn_d2.visualization.draw import draw_scene_graph, side_by_side
from reldn_d2.visualization.labels import PALETTE, edges_to_draw, entity_colours, entity_names
from reldn_d2.visualization.layout import arc
from reldn_d2.visualization.sheet import Sheet

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


def grey(width: int = 1000, height: int = 500) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


LEFT, RIGHT = [50.0, 200, 150, 300], [850.0, 200, 950, 300]


def near(image: np.ndarray, colour: str) -> np.ndarray:
    return np.abs(image.astype(int) - np.rint(np.array(to_rgb(colour)) * 255)).max(axis=-1) < 12


def test_a_graph_without_relationships_changes_no_pixel_of_a_large_image() -> None:
    image = np.random.default_rng(0).integers(0, 255, (300, 900, 3), dtype=np.uint8)
    drawn = draw_scene_graph(image, graph_of([LEFT], []))
    assert (drawn == image).all() and drawn is not image


def test_an_entity_without_a_relationship_is_drawn_on_request() -> None:
    graph = graph_of([LEFT, RIGHT], [])
    drawn = draw_scene_graph(grey(), graph, also=[1])
    assert near(drawn, PALETTE[1])[250, 845:855].any()
    assert (drawn[:, :800] == 128).all()
    together = draw_scene_graph(grey(), graph_of([LEFT, RIGHT], [(0, 0, "sees")]), also=[1, 0])
    assert near(together, PALETTE[0])[250, 45:55].any() and near(together, PALETTE[1])[250, 845:855].any()


def test_a_small_image_is_only_enlarged() -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 192, 3), dtype=np.uint8)
    drawn = draw_scene_graph(image, graph_of([LEFT], []), min_side=768)
    assert (drawn == cv2.resize(image, (768, 384), interpolation=cv2.INTER_CUBIC)).all()


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
    """The text and the place of every label that is drawn."""
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
    draw_scene_graph(grey(), graph_of(boxes, triplets, name="traffic light"), text_scale=1.5)
    assert len(plates) == 8
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
    assert drawn.shape == (500, 1000, 3) and (drawn != 128).any()


@settings(max_examples=25)
@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_any_image_size_works(width: int, height: int) -> None:
    drawn = draw_scene_graph(grey(width, height), graph_of([LEFT, RIGHT], [(0, 1, "sees")]), min_side=64)
    assert max(drawn.shape[:2]) == max(64, width, height)


def test_wrong_images_are_refused() -> None:
    for image in (np.zeros((10, 10), np.uint8), np.zeros((10, 10, 4), np.uint8), np.zeros((10, 10, 3))):
        with pytest.raises(ValueError, match="uint8"):
            draw_scene_graph(image, graph_of([], []))


def test_side_by_side_keeps_the_pictures() -> None:
    a, b = np.full((240, 100, 3), 10, np.uint8), np.full((480, 300, 3), 200, np.uint8)
    row = side_by_side([a, b], ["ground $ truth", "prediction"])
    assert row.shape == (480 + 34, 200 + 10 + 300, 3)
    assert (row[34:, :200] == 10).all() and (row[34:, 210:] == 200).all() and (row[34:, 200:210] == 255).all()
    assert (row[:34] < 100).any()
    with pytest.raises(ValueError, match="2 images and 1 titles"):
        side_by_side([a, b], ["one"])


@given(st.sets(st.integers(0, 99), max_size=len(PALETTE)))
def test_few_entities_have_colours_of_their_own(entities: set[int]) -> None:
    colours = entity_colours(sorted(entities))
    assert len(set(colours.values())) == len(entities)
    assert all(
        colours[e] == PALETTE[e] for e in entities if e < len(PALETTE) and max(entities) < len(PALETTE)
    )


def test_more_entities_than_colours_reuse_them_evenly() -> None:
    colours = list(entity_colours(list(range(30))).values())
    assert {colours.count(colour) for colour in PALETTE} == {2, 3}


def test_only_classes_that_occur_twice_are_numbered() -> None:
    graph = graph_of([LEFT] * 3, [])
    graph["entities"][1]["class"] = "dog"
    assert entity_names(graph, [0, 1, 2]) == {0: "person 1", 1: "dog", 2: "person 2"}
    assert entity_names(graph, [1, 2]) == {1: "dog", 2: "person"}


def test_repeats_are_drawn_once_and_do_not_count() -> None:
    graph = graph_of([LEFT] * 3, [(0, 1, "a"), (0, 1, "a"), (0, 1, "b"), (1, 2, "a")])
    edges = edges_to_draw(graph, 2, [True, False, False, True])
    assert [(e.subject, e.object, e.predicate, e.correct) for e in edges] == [
        (0, 1, "a", True),
        (0, 1, "b", False),
    ]
