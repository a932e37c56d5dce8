"""Graphs of lists of scored triplets: entities, ranks in pair, and repeats under every protocol."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reldn_d2.evaluation import (
    ALL_PREDICATES,
    PredictedGraph,
    evaluate_graphs,
    graph_from_entities,
    graph_from_triplets,
    make_protocols,
    rank_triplets,
)
from reldn_d2.evaluation.checks import prepare_prediction
from reldn_d2.evaluation.io.submission import graph_of_triplets
from reldn_d2.evaluation.protocols.openimages import OpenImagesProtocol
from reldn_d2.evaluation.protocols.protocol import EvaluatedSplit
from reldn_d2.evaluation.triplet_graphs import repeats
from tests.builders.evaluation_scenes import NAMES, truth_graph

BOXES = [(0, 0, 10, 10), (20, 0, 30, 10), (20, 20, 30, 30)]
# Subject and object (class, box), predicate, score.
Line = tuple[tuple[int, int], tuple[int, int], int, float]


def graph_of(lines: Sequence[Line], **options: Any) -> PredictedGraph:
    classes = np.array([[s[0], o[0]] for s, o, _, _ in lines], dtype=np.int64).reshape(-1, 2)
    boxes = np.array([[BOXES[s[1]], BOXES[o[1]]] for s, o, _, _ in lines], dtype=np.float64).reshape(-1, 2, 4)
    predicate = np.array([line[2] for line in lines], dtype=np.int64)
    score = np.array([line[3] for line in lines], dtype=np.float64)
    return graph_from_triplets(
        classes[:, 0], boxes[:, 0], classes[:, 1], boxes[:, 1], predicate, score, **options
    )


def lines_of(graph: PredictedGraph) -> list[Line]:
    """The triplets of a graph in its order."""
    ends = [
        (int(c), BOXES.index(tuple(box))) for c, box in zip(graph.classes, graph.boxes.tolist(), strict=True)
    ]
    r = graph.relations
    columns = (x.tolist() for x in (r.subject, r.object, r.predicate, r.score))
    return [(ends[s], ends[o], p, score) for s, o, p, score in zip(*columns, strict=True)]


some_lines = st.lists(
    st.tuples(
        st.tuples(st.integers(0, 1), st.integers(0, 2)),
        st.tuples(st.integers(0, 1), st.integers(0, 2)),
        st.integers(0, 2),
        st.sampled_from([-1.0, 0.25, 0.5, 0.5 + 1e-12]),  # the last two are equal in float32
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(some_lines, st.booleans())
def test_graphs_equal_the_definition(lines: list[Line], merge: bool) -> None:
    graph = graph_of(lines, merge_repeats=merge)
    expected, ranks = [], []
    predicates: dict[Any, list[int]] = {}  # of each pair, best first
    for line in sorted(lines, key=lambda line: -line[3]):
        of_pair = predicates.setdefault(line[:2], [])
        if line[2] not in of_pair:
            of_pair.append(line[2])
        elif merge:
            continue
        expected.append(line)
        ranks.append(of_pair.index(line[2]) + 1)
    assert lines_of(graph) == expected
    assert graph.relations.rank_in_pair.tolist() == ranks
    assert graph.relations.score.dtype == np.float64
    assert len(graph.boxes) == len({end for line in lines for end in line[:2]})
    assert graph.has_repeats == (len({line[:3] for line in expected}) < len(expected))
    earlier = [line[:3] in [x[:3] for x in expected[:i]] for i, line in enumerate(expected)]
    assert repeats(graph.relations).tolist() == earlier
    # an evaluation takes it, and what it keeps may be saved
    prepared = prepare_prediction(
        graph,
        truth_graph([], [], []),
        "sgdet",
        make_protocols(["motifs"]),
        num_classes=2,
        num_predicates=3,
        where="image",
    )
    assert prepared.has_repeats == graph.has_repeats and len(prepared.relations) == len(expected)


# A cat at box 0 is on (predicate 0) a dog at box 1 and has (1) a dog at box 2.
CAT, DOG, OTHER_DOG = (0, 0), (1, 1), (1, 2)
TRUTHS = {"1": truth_graph(BOXES, [0, 1, 1], [(0, 1, 0), (0, 2, 1)])}
SPLIT = EvaluatedSplit(NAMES)


def metrics(lines: Sequence[Line], protocol: Any, task: str = "sgdet", **options: Any) -> dict[str, float]:
    return evaluate_graphs(TRUTHS, {"1": graph_of(lines, **options)}, task, [protocol], SPLIT)[
        protocol if isinstance(protocol, str) else protocol.name
    ].metrics


WRONG = (CAT, OTHER_DOG, 0, 0.9)  # the cat is not on this dog
RIGHT = (CAT, DOG, 0, 0.5)
UNLIMITED = OpenImagesProtocol(predicates_per_pair=ALL_PREDICATES, list_length=ALL_PREDICATES)


def test_repeats_take_places_in_lists() -> None:
    lines = [WRONG] * 50 + [RIGHT]
    for found, merge in ((0.0, False), (50.0, True)):
        assert metrics(lines, "motifs", merge_repeats=merge)["R@50"] == found
        assert metrics(lines, "motifs", merge_repeats=merge)["ngR@50"] == found
        assert metrics(lines, "vrd2016", merge_repeats=merge)["R@50"] == found
        assert metrics(lines, "reldn", merge_repeats=merge)["rel_k1_R@50"] == found
        assert metrics(lines, "reldn_openimages", merge_repeats=merge)["R@50"] == found
        assert metrics(lines, UNLIMITED, merge_repeats=merge)["R@50"] == found
    assert metrics(lines, "motifs")["R@100"] == 50.0


def test_a_repeat_of_a_right_triplet_is_a_false_positive_in_average_precision() -> None:
    # "on" is annotated once. Its triplets are right, wrong (a repeat): AP 100. With a better wrong one: 1/2.
    # "has" comes after a repeat of itself that is wrong: precision 1/3 without merging, 1/2 with it.
    wrong_has = (DOG, CAT, 1, 0.9)
    lines = [wrong_has, wrong_has, (CAT, OTHER_DOG, 1, 0.5), RIGHT, RIGHT]
    for protocol in (UNLIMITED, "reldn_openimages"):
        found = metrics(lines, protocol)
        assert found["AP_rel/on"] == 100.0 and found["AP_rel/has"] == pytest.approx(100 / 3)
        assert metrics(lines, protocol, merge_repeats=True)["AP_rel/has"] == 50.0
    # Two annotated relationships, and the repeat of the first is not the second.
    truth = {"1": truth_graph(BOXES, [0, 1, 1], [(0, 1, 0), (0, 2, 0)])}
    graph = graph_of([RIGHT, RIGHT, (CAT, OTHER_DOG, 0, 0.25)])
    ap = evaluate_graphs(truth, {"1": graph}, "sgdet", [UNLIMITED], SPLIT)["openimages"].metrics["AP_rel/on"]
    assert ap == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_a_repeat_lets_no_other_predicate_of_its_pair_into_the_list() -> None:
    # Predicate 2 of the pair is the better one; 0, which is right, is there twice.
    lines = [(CAT, DOG, 2, 0.9), (CAT, DOG, 0, 0.8), (CAT, DOG, 0, 0.7)]
    found = metrics(lines, "motifs")
    assert (found["R@50"], found["ngR@50"]) == (0.0, 50.0)
    assert metrics(lines, "reldn")["rel_k2_R@50"] == 50.0


@pytest.mark.parametrize("task", ["sgcls", "prdcls"])
def test_repeats_of_rows_of_annotated_entities(task: str) -> None:
    truth = TRUTHS["1"]
    lines = np.array([(0, 2, 0)] * 50 + [(0, 1, 0), (0, 1, 2)])
    scores = np.linspace(1, 0, len(lines))
    for merge, recall in ((False, 0.0), (True, 50.0)):
        graph = graph_from_entities(truth.boxes, truth.classes, *lines.T, scores, merge_repeats=merge)
        assert graph.relations.rank_in_pair.tolist()[-2:] == [1, 2]
        found = evaluate_graphs(TRUTHS, {"1": graph}, task, ["motifs"], SPLIT)["motifs"].metrics
        assert found["R@50"] == recall


@settings(max_examples=30, deadline=None)
@given(some_lines)
def test_lists_without_a_limit_count_repeats_as_submissions_do(lines: list[Line]) -> None:
    """Submissions keep repeats in another way: each is a pair of its own."""
    best_first = sorted(lines, key=lambda line: -line[3])
    submitted = graph_of_triplets(
        np.array([[s[0], o[0]] for s, o, _, _ in best_first]).reshape(-1, 2),
        np.array([[BOXES[s[1]], BOXES[o[1]]] for s, o, _, _ in best_first], dtype=np.float32).reshape(
            -1, 2, 4
        ),
        np.array([line[2] for line in best_first], dtype=np.int64),
        np.array([line[3] for line in best_first]),
    )
    protocols = [UNLIMITED, "vrd2016"]
    expected, found = (
        evaluate_graphs(TRUTHS, {"1": graph}, "sgdet", protocols, SPLIT)
        for graph in (submitted, graph_of(lines))
    )
    for name, result in expected.items():
        np.testing.assert_equal(found[name].metrics, result.metrics)


def test_a_list_has_no_triplets_but_its_own() -> None:
    """A dense table of zeros adds triplets of score 0, which find relationships by chance."""
    subject, object, probs = np.array([0, 0]), np.array([1, 2]), np.array([[0.5, 0, 0], [0, 0, 0.25]])
    boxes, classes = np.array(BOXES), np.array([0, 1, 1])
    dense = PredictedGraph(
        boxes, classes, np.ones(3), rank_triplets(subject, object, np.ones(2), probs, list_length=100)
    )
    listed = graph_of([RIGHT, (CAT, OTHER_DOG, 2, 0.25)])
    recalls = [
        evaluate_graphs(TRUTHS, {"1": graph}, "sgdet", ["vrd2016"], SPLIT)["vrd2016"].metrics["R@50"]
        for graph in (dense, listed)
    ]
    assert recalls == [100.0, 50.0]


def test_repeats_must_have_one_rank() -> None:
    graph = graph_of([RIGHT, RIGHT])
    graph.relations.rank_in_pair[1] = 2
    with pytest.raises(ValueError, match="image: the repeats of a triplet must all have the rank_in_pair"):
        prepare_prediction(
            graph,
            TRUTHS["1"],
            "sgdet",
            make_protocols(["motifs"]),
            num_classes=2,
            num_predicates=3,
            where="image",
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.array([0.5, np.nan])}, "a score is not finite"),
        ({"subject_boxes": np.full((2, 4), np.inf)}, "a box is not finite"),
        ({"object_boxes": np.zeros((2, 5))}, r"object_boxes and object_classes must be \(T, 4\)"),
        ({"subject_classes": np.zeros((1, 2), dtype=int)}, "subject_boxes and subject_classes must be"),
        ({"predicate": np.zeros(3, dtype=int)}, r"must all be \(T,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    classes, boxes = np.array([0, 1]), np.array(BOXES[:2])
    arrays = {
        **{"subject_classes": classes, "subject_boxes": boxes, "object_classes": classes},
        **{"object_boxes": boxes, "predicate": classes, "score": np.array([0.5, 0.25])},
    }
    with pytest.raises(ValueError, match=message):
        graph_from_triplets(**{**arrays, **change})


def test_columns_may_be_lists_or_tensors() -> None:
    lines: list[Line] = [((0, 0), (1, 1), 2, 0.5), ((0, 0), (1, 2), 0, 0.25), ((0, 0), (1, 1), 2, 0.125)]
    graph = graph_of(lines)
    columns = (
        [s[0] for s, *_ in lines],
        [BOXES[s[1]] for s, *_ in lines],
        [o[0] for _, o, *_ in lines],
        [BOXES[o[1]] for _, o, *_ in lines],
        [line[2] for line in lines],
        [line[3] for line in lines],
    )
    rows = [x.tolist() for x in vars(graph.relations).values()]
    for other in (graph_from_triplets(*columns), graph_from_triplets(*map(torch.tensor, columns))):
        assert lines_of(other) == lines_of(graph)
        assert [x.tolist() for x in vars(other.relations).values()] == rows
    r = graph.relations
    of_entities = graph_from_entities(
        *(x.tolist() for x in (graph.boxes, graph.classes, r.subject, r.object, r.predicate, r.score)),
        entity_scores=[0.5, 0.5, 0.5],
    )
    assert [x.tolist() for x in vars(of_entities.relations).values()] == rows


def test_empty_lists_are_an_image_where_nothing_was_found() -> None:
    nothing: list[Any] = []
    for graph in (graph_from_triplets(*[nothing] * 6), graph_from_entities(*[nothing] * 6)):
        assert (graph.boxes.shape, graph.classes.shape, len(graph.relations)) == ((0, 4), (0,), 0)
        truths = {"1": truth_graph([BOXES[0], BOXES[1]], [0, 1], [(0, 1, 0)])}
        found = evaluate_graphs(truths, {"1": graph}, "sgdet", ["motifs"], EvaluatedSplit(NAMES))
        assert found["motifs"].metrics["R@50"] == 0.0


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (0, [0.0, 1.0], "subject_classes must be integers, not float64"),
        (1, [list("0000")] * 2, "subject_boxes must be numbers, not <U1"),
        (4, [0.5, 1.0], "predicate must be integers, not float64"),
        (4, [True, False], "predicate must be integers, not bool"),
        (5, ["high", "low"], "score must be numbers, not <U4"),
    ],
)
def test_columns_of_another_type_are_refused(column: int, values: list[Any], message: str) -> None:
    columns: list[Any] = [[0, 0], [BOXES[0]] * 2, [1, 1], [BOXES[1]] * 2, [0, 1], [0.5, 0.25]]
    graph_from_triplets(*columns)
    columns[column] = values
    with pytest.raises(ValueError, match=message):
        graph_from_triplets(*columns)
