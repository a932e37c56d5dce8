import numpy as np
import pytest
from matplotlib.colors import to_rgb

from reldn_d2.scene_graphs import SceneGraph, build_scene_graph
from reldn_d2.visualization.labels import (
    PALETTE,
    Edge,
    edge_text,
    entity_looks,
    entity_names,
    same_entities,
    text_colour,
    triplet_text,
)

Box = list[float]


def graph_of(entities: list[tuple[str, Box]], size: tuple[int, int] = (100, 50)) -> SceneGraph:
    image = {"file_name": "", "width": size[0], "height": size[1]}
    return build_scene_graph(image, [name for name, _ in entities], [box for _, box in entities], [])


def named(*classes: str) -> list[str]:
    return entity_names(graph_of([(name, [0.0, 0, 1, 1]) for name in classes]))


def test_only_classes_that_occur_twice_are_numbered() -> None:
    assert named("person", "dog", "person") == ["person 1", "dog", "person 2"]


def test_names_are_unique_whatever_the_classes() -> None:
    assert named("person", "person 1", "person") == ["person 2", "person 1", "person 3"]
    assert named("", "") == ["? 1", "? 2"]
    # Cut names are equal, and get numbers.
    long = named("a" * 1000, "a" * 999)
    assert len(set(long)) == 2 and max(map(len, long)) <= 42
    assert named("a\u202eb\n", "$x$") == ["a\\u202eb\\n", "$x$"]


def test_the_colour_of_an_entity_depends_on_its_id() -> None:
    looks = entity_looks(graph_of([("cup", [0.0, 0, 1, 1])] * 20))
    assert looks.colours == [PALETTE[i % len(PALETTE)] for i in range(20)]
    assert len(set(looks.names)) == 20


def test_entities_of_two_graphs_are_the_same_if_class_and_place_agree() -> None:
    truth = graph_of([("cup", [0.0, 0, 10, 10]), ("cup", [20.0, 0, 30, 10]), ("dog", [40.0, 0, 50, 10])])
    found = graph_of(
        [
            ("cup", [22.0, 0, 32, 10]),  # IoU 2/3 with the second cup
            ("cup", [20.0, 0, 30, 9]),  # IoU 0.9 with it: it is the better one
            ("cat", [40.0, 0, 50, 10]),  # another class
            ("cup", [0.0, 0, 4.9, 10]),  # IoU 0.49
        ]
    )
    assert same_entities(found, truth) == {1: 1}
    found["entities"][3]["box"] = [0.0, 0, 5, 10]
    assert same_entities(found, truth) == {1: 1, 3: 0}


def test_entities_are_compared_in_images_of_two_sizes() -> None:
    truth = graph_of([("cup", [10.0, 10, 20, 20])])
    twice = graph_of([("cup", [20.0, 20, 40, 40])], size=(200, 100))
    assert same_entities(twice, truth) == {0: 0} == same_entities(truth, truth)
    assert same_entities(graph_of([]), truth) == {} == same_entities(truth, graph_of([]))
    # Boxes without area are nowhere the same.
    empty = graph_of([("cup", [5.0, 5, 5, 5])])
    assert same_entities(empty, empty) == {}


def test_a_prediction_takes_the_looks_of_the_ground_truth_beside_it() -> None:
    truth = graph_of([("cup", [0.0, 0, 10, 10]), ("cup", [20.0, 0, 30, 10]), ("dog", [40.0, 0, 50, 10])])
    found = graph_of(
        [
            ("dog", [60.0, 0, 70, 10]),
            ("cup", [70.0, 0, 80, 10]),
            ("dog", [40.0, 0, 50, 11]),
            ("cup", [20.0, 0, 30, 11]),
            ("hat", [0.0, 0, 5, 5]),
        ]
    )
    looks = entity_looks(found, beside=truth)
    assert looks.names == ["dog 2", "cup 3", "dog", "cup 2", "hat"]
    assert looks.colours[2] == PALETTE[2] and looks.colours[3] == PALETTE[1]
    # With the annotated boxes, all names agree.
    assert entity_looks(truth, beside=truth) == entity_looks(truth)


def test_texts_have_scores_if_there_are_some() -> None:
    edge = Edge(0, 1, "holds", None, 0.874)
    assert [edge_text(edge, scores) for scores in (True, False)] == ["holds (0.87)", "holds"]
    assert edge_text(Edge(0, 1, "holds", True), True) == "\N{CHECK MARK} holds"
    names = ["person 2", "cup 1"]
    assert triplet_text(edge, names, True) == "person 2 \u2013 holds (0.87) \u2013 cup 1"
    assert triplet_text(edge, names, False) == "person 2 \u2013 holds \u2013 cup 1"


def luminance(colour: str) -> float:
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("fill", PALETTE)
def test_names_can_be_read_on_all_colours(fill: str) -> None:
    a, b = sorted([luminance(fill), luminance(text_colour(fill))])
    # What WCAG asks of texts.
    assert (b + 0.05) / (a + 0.05) >= 4.5


def test_the_palette_is_that_of_okabe_and_ito() -> None:
    assert len(PALETTE) == len(set(PALETTE)) <= 8
    published = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0)]
    published.append((204, 121, 167))
    assert [tuple(round(255 * x) for x in to_rgb(colour)) for colour in PALETTE] == published
