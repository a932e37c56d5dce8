import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reldn_d2.evaluation import (
    PROTOCOLS,
    EvaluatedSplit,
    GroundTruthGraph,
    PredictedGraph,
    evaluate_graphs,
    openimages,
    reldn_openimages,
    training_split,
)
from reldn_d2.evaluation.protocols.openimages import OpenImagesProtocol, is_evaluable
from reldn_d2.evaluation.protocols.recall import ALL_PREDICATES
from tests.builders.evaluation_scenes import NAMES, NUM_PREDICATES, predicted_graph, score_images, truth_graph
from tests.references.openimages import image_dict, slow_openimages

Images = list[tuple[GroundTruthGraph, PredictedGraph]]

NUM_CLASSES = 4
A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)


def verified(truth: GroundTruthGraph, *classes: int) -> GroundTruthGraph:
    return dataclasses.replace(truth, verified_classes=np.array(classes, dtype=np.int64))


# "thing of class 0 on thing of class 1"
TRUTH = truth_graph([A, B], [0, 1], [(0, 1, 0)])
FOUND = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.5, 1)])


def score(*images: tuple[GroundTruthGraph, PredictedGraph], **options: object) -> dict[str, float]:
    return score_images(OpenImagesProtocol(**options), images).metrics


def test_overlap_of_exactly_half_is_enough() -> None:
    exact = predicted_graph([(0, 0, 10, 5), B], [0, 1], [(0, 1, 0, 0.9, 1)])
    less = predicted_graph([(0, 0, 10, 4.99), B], [0, 1], [(0, 1, 0, 0.9, 1)])
    for name in ("R@50", "AP_rel/on"):
        assert score((TRUTH, exact))[name] == 100.0
        assert score((TRUTH, less))[name] == 0.0


def test_phrases_of_exactly_half_are_enough() -> None:
    # the box around both has half the annotated width; the subject's box has no area in common
    truth = truth_graph([(0, 0, 10, 10), (30, 0, 40, 10)], [0, 1], [(0, 1, 0)])
    exact = predicted_graph([(20, 0, 25, 10), (30, 0, 40, 10)], [0, 1], [(0, 1, 0, 0.9, 1)])
    less = predicted_graph([(20.1, 0, 25, 10), (30, 0, 40, 10)], [0, 1], [(0, 1, 0, 0.9, 1)])
    metrics = score((truth, exact))
    assert metrics["AP_phr/on"] == metrics["phr_R@50"] == metrics["phr_R@100"] == 100.0
    assert metrics["AP_rel/on"] == metrics["R@50"] == 0.0
    metrics = score((truth, less))
    assert metrics["AP_phr/on"] == metrics["phr_R@50"] == 0.0


def test_boxes_are_continuous() -> None:
    # 9 x 4 of 9 x 9, less than half; in whole pixels it would be 10 x 5 of 10 x 10
    truth = truth_graph([(0, 0, 9, 9), B], [0, 1], [(0, 1, 0)])
    predicted = predicted_graph([(0, 0, 9, 4), B], [0, 1], [(0, 1, 0, 0.9, 1)])
    assert score((truth, predicted))["R@50"] == 0.0
    assert score_images(reldn_openimages(), [(truth, predicted)]).metrics["R@50"] == 100.0


@pytest.mark.parametrize(
    ("ends", "known", "counts"),
    [
        ((0, 1), (), True),  # the relationship has both classes
        ((1, 1), (), True),
        ((2, 1), (), False),  # class 2 is annotated, but in no relationship
        ((0, 3), (), False),
        ((3, 0), (2,), False),
        ((2, 1), (2,), True),  # verified, present or absent
        ((0, 2), (2,), True),
        ((3, 2), (2, 3), True),
        ((3, 2), (2,), True),  # wrong for any class 3
        ((2, 3), (2,), True),
        ((0, 3), (0,), False),  # class 0 is verified but in a relationship, so class 3 decides
        ((3, 3), (0, 1, 2), False),
    ],
)
def test_evaluable_triplets(ends: tuple[int, int], known: tuple[int, ...], counts: bool) -> None:
    truth = verified(truth_graph([A, B, C], [0, 1, 2], [(0, 1, 0)]), *known)
    # a wrong triplet of these classes has a higher score than the right one
    predicted = predicted_graph([A, B, C, C], [0, 1, *ends], [(2, 3, 0, 0.9, 1), (0, 1, 0, 0.5, 1)])
    assert is_evaluable(predicted, predicted.relations, truth).tolist() == [counts, True]
    metrics = score((truth, predicted))
    assert metrics["AP_rel/on"] == metrics["AP_phr/on"] == (50.0 if counts else 100.0)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_only_evaluable_triplets_take_places(num_classes: int) -> None:
    # 50 wrong ones before the right one: of an unknown class, or of class 1
    wrong = num_classes - 1
    boxes, classes = [A, B] + [C] * 50, [0, 1] + [wrong] * 50
    rows = [(i, 1, 0, 0.9, 1) for i in range(2, 52)] + [(0, 1, 0, 0.5, 1)]
    metrics = score((TRUTH, predicted_graph(boxes, classes, rows)))
    assert metrics["R@50"] == metrics["phr_R@50"] == (0.0 if wrong == 1 else 100.0)
    assert metrics["R@100"] == metrics["phr_R@100"] == 100.0
    assert score((TRUTH, predicted_graph(boxes, classes, rows[1:])))["R@50"] == 100.0


def test_triplets_that_are_not_evaluable_take_places_in_the_submission() -> None:
    boxes, classes = [A, B] + [C] * 100, [0, 1] + [3] * 100
    rows = [(i, 1, 0, 0.9, 1) for i in range(2, 102)] + [(0, 1, 0, 0.5, 1)]
    predicted = predicted_graph(boxes, classes, rows)
    assert score((TRUTH, predicted))["AP_rel/on"] == 0.0
    assert score((TRUTH, predicted), list_length=101)["AP_rel/on"] == 100.0
    assert score((TRUTH, predicted), list_length=ALL_PREDICATES)["R@50"] == 100.0


def test_predicates_of_a_pair_that_are_submitted() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 1), (0, 1, 2)])
    rows = [(0, 1, 1, 0.9, 1), (0, 1, 2, 0.8, 2), (0, 1, 0, 0.7, 3)]
    predicted = predicted_graph([A, B], [0, 1], rows)
    for limit, recall in ((1, 100 / 3), (2, 200 / 3), (ALL_PREDICATES, 100.0)):
        metrics = score((truth, predicted), predicates_per_pair=limit)
        assert metrics["R@50"] == metrics["mAP_rel"] == pytest.approx(recall)
    assert score((truth, predicted))["AP_rel/on"] == 0.0


def test_a_triplet_does_not_turn_to_its_second_best() -> None:
    near = (0, 0, 10, 9)
    truth = truth_graph([A, near, B], [0, 0, 1], [(0, 2, 0), (1, 2, 0)])
    # both triplets overlap the first relationship best, and the second one by more than half
    predicted = predicted_graph([A, A, B], [0, 0, 1], [(0, 2, 0, 0.9, 1), (1, 2, 0, 0.8, 1)])
    metrics = score((truth, predicted))
    assert metrics["R@50"] == metrics["AP_rel/on"] == 50.0
    assert metrics["AP_phr/on"] == metrics["phr_R@50"] == 50.0


def test_a_repeated_relationship_is_answered_once_and_counted_twice() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 0)])
    predicted = predicted_graph([A, A, B], [0, 0, 1], [(0, 2, 0, 0.9, 1), (1, 2, 0, 0.8, 1)])
    metrics = score((truth, predicted))
    assert metrics["R@50"] == metrics["AP_rel/on"] == 50.0


def test_a_triplet_finds_one_relationship_at_most() -> None:
    truth = truth_graph([A, (0, 0, 10, 9), B], [0, 0, 1], [(0, 2, 0), (1, 2, 0)])
    assert score((truth, predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1)])))["R@50"] == 50.0
    two = predicted_graph([(0, 0, 10, 9), A, B], [0, 0, 1], [(0, 2, 0, 0.9, 1), (1, 2, 0, 0.8, 1)])
    assert score((truth, two))["R@50"] == 100.0


def test_equal_scores_rank_by_image_then_place() -> None:
    wrong = predicted_graph([C, B], [0, 1], [(0, 1, 0, 0.5, 1)])
    split = [(TRUTH, wrong), (TRUTH, FOUND)]
    assert score(*split)["AP_rel/on"] == pytest.approx(
        25.0
    )  # precision 1/2 at the first of two relationships
    assert score(*split[::-1])["AP_rel/on"] == pytest.approx(50.0)
    rows = [(2, 1, 0, 0.5, 1), (0, 1, 0, 0.5, 1)]
    for order, expected in ((rows, 50.0), (rows[::-1], 100.0)):
        assert score((TRUTH, predicted_graph([A, B, C], [0, 1, 0], order)))["AP_rel/on"] == expected


def test_equal_overlaps_go_to_the_first_annotation() -> None:
    # the first triplet lies between two relationships and takes the first one, so the second is still free
    left, right = (0, 0, 10, 10), (2, 0, 12, 10)
    predicted = predicted_graph([(1, 0, 11, 10), right, B], [0, 0, 1], [(0, 2, 0, 0.9, 1), (1, 2, 0, 0.8, 1)])
    for ends, recall in (([left, right], 100.0), ([right, left], 50.0)):
        truth = truth_graph([*ends, B], [0, 0, 1], [(0, 2, 0), (1, 2, 0)])
        assert score((truth, predicted))["R@50"] == recall


def test_nothing_predicted_scores_zero() -> None:
    metrics = score((TRUTH, PredictedGraph.empty()))
    assert set(metrics.values()) == {0.0}
    assert {"R@50", "macro_R@100", "phr_R@50", "macro_phr_R@100", "AP_phr/on", "wmAP_rel", "score"} <= set(
        metrics
    )
    assert "R@20" not in metrics


def test_an_image_without_relationships_brings_false_positives_of_verified_classes_alone() -> None:
    surer = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1)])
    empty = truth_graph([A, B], [0, 1], [])
    assert score((TRUTH, FOUND), (empty, surer))["AP_rel/on"] == 100.0
    assert score((TRUTH, FOUND), (verified(empty, 0, 1), surer))["AP_rel/on"] == pytest.approx(50.0)
    assert score((TRUTH, FOUND), (verified(empty, 2), surer))["AP_rel/on"] == 100.0


def test_recall_is_averaged_both_ways() -> None:
    truth = truth_graph([A, B, C], [0, 1, 0], [(0, 1, 0), (2, 1, 1), (1, 0, 2)])
    metrics = score((TRUTH, FOUND), (truth, FOUND))
    assert metrics["R@50"] == 50.0 and metrics["macro_R@50"] == pytest.approx(100 * (1 + 1 / 3) / 2)
    assert metrics["phr_R@50"] == 50.0 and metrics["macro_phr_R@50"] == pytest.approx(100 * (1 + 1 / 3) / 2)


def test_means_and_scores() -> None:
    # "on" three times, found once as a relation; "has" once, found as a phrase only; "near" never
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (1, 0, 0), (0, 0, 0), (0, 1, 1)])
    predicted = predicted_graph([A, B, (0, 0, 2, 10)], [0, 1, 0], [(0, 1, 0, 0.9, 1), (2, 1, 1, 0.8, 1)])
    result = score_images(openimages(), [(truth, predicted)])
    metrics = result.metrics
    assert metrics["AP_rel/on"] == metrics["AP_phr/on"] == pytest.approx(100 / 3)
    assert metrics["AP_rel/has"] == 0.0 and metrics["AP_phr/has"] == 100.0
    assert metrics["mAP_rel"] == pytest.approx(100 / 6) and metrics["mAP_phr"] == pytest.approx(200 / 3)
    assert metrics["wmAP_rel"] == pytest.approx(25.0) and metrics["wmAP_phr"] == pytest.approx(50.0)
    assert metrics["score"] == pytest.approx(0.2 * 25 + 0.4 * 100 / 6 + 0.4 * 200 / 3)
    assert metrics["score_wtd"] == pytest.approx(0.2 * 25 + 0.4 * 25 + 0.4 * 50)


def test_a_predicate_that_is_not_annotated_is_excluded() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (1, 0, 1)])
    rows = [(0, 1, 2, 0.9, 1), (0, 1, 0, 0.8, 2)]  # "near" isn't annotated
    result = score_images(openimages(), [(truth, predicted_graph([A, B], [0, 1], rows))])
    assert result.metrics["mAP_rel"] == result.metrics["wmAP_rel"] == 50.0
    assert result.metrics["AP_rel/has"] == 0.0  # annotated, but not predicted
    assert not {"AP_rel/near", "AP_phr/near"} & set(result.metrics)
    recalls = [f"pooled_{kind}R@{k}" for kind in ("", "phr_") for k in (50, 100)]
    assert list(result.per_predicate) == ["annotated", *recalls, "AP_rel", "AP_phr"]
    np.testing.assert_array_equal(result.per_predicate["pooled_R@50"], [100.0, 0.0, np.nan])
    assert result.per_predicate["annotated"].tolist() == [1, 1, 0]
    for kind in ("rel", "phr"):
        np.testing.assert_array_equal(result.per_predicate[f"AP_{kind}"], [100.0, 0.0, np.nan])
    assert result.notes[1:] == ["mAP is the mean over 2 of 3 predicates, of which 2 are annotated."]


def test_starred_numbers_leave_predicates_out_but_not_of_recall() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 0), (1, 0, 1)])
    predicted = predicted_graph([A, B], [0, 1], [(1, 0, 1, 0.9, 1)])
    result = score_images(openimages(("on",)), [(truth, predicted)])
    metrics = result.metrics
    assert metrics["mAP_rel"] == 50.0 and metrics["wmAP_rel"] == pytest.approx(100 / 3)
    assert metrics["mAP_rel_starred"] == metrics["wmAP_phr_starred"] == 100.0
    assert metrics["score_starred"] == metrics["score_wtd_starred"] == pytest.approx(0.2 * 100 / 3 + 80)
    assert result.notes[2] == "mAP_starred is the mean over 1 of 3 predicates, of which 1 are annotated."
    nothing_left = score((truth, predicted), excluded_predicates=("on", "has"))
    assert not [name for name in nothing_left if name.endswith("_starred")]
    assert "score_starred" not in score((truth, predicted))


def test_zero_shot_recall_counts_the_same_true_positives() -> None:
    training = training_split([TRUTH], num_classes=NUM_CLASSES, num_predicates=NUM_PREDICATES)
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1)])
    predicted = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1), (1, 0, 1, 0.8, 1)])
    result = score_images(openimages(), [(truth, predicted)], training=training)
    assert result.metrics["R@50"] == 50.0 and result.metrics["zR@50"] == pytest.approx(100 / 3)
    assert result.per_image["openimages"].hits["R@50"].tolist() == [2]
    assert result.per_image["openimages_zero_shot"].ground_truths.tolist() == [3]


def test_subsets_are_scored_by_what_is_annotated_in_them() -> None:
    other = truth_graph([A, B], [0, 1], [(1, 0, 1)])
    results = evaluate_graphs(
        {"1": TRUTH, "2": other},
        {"1": FOUND, "2": FOUND},
        "sgdet",
        [openimages()],
        EvaluatedSplit(NAMES),
        subsets={"first": {"1"}},
    )
    assert results["openimages"].metrics["mAP_rel"] == 50.0
    assert results["openimages_first"].metrics["mAP_rel"] == 100.0
    assert "AP_rel/has" not in results["openimages_first"].metrics
    assert list(results["openimages_first"].per_image) == ["openimages_first"]


@pytest.mark.parametrize("protocol", [openimages, reldn_openimages])
def test_excluded_predicates_must_exist_and_not_be_all(protocol: object) -> None:
    protocol(["on", "near"]).check_vocabulary(NAMES)
    with pytest.raises(ValueError, match="hits"):
        protocol(("under", "hits")).check_vocabulary(NAMES)
    with pytest.raises(ValueError, match="every predicate"):
        protocol(NAMES).check_vocabulary(NAMES)


@pytest.mark.parametrize("options", [{"predicates_per_pair": 0}, {"list_length": 0}])
def test_senseless_lists_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"protocol openimages: .* must be >= 1"):
        OpenImagesProtocol(**options)


def test_the_registered_protocol_scores_the_list_that_the_model_submits() -> None:
    protocol = PROTOCOLS["openimages"]()
    assert protocol == OpenImagesProtocol((), predicates_per_pair=2, list_length=100)
    assert (
        protocol.name == "openimages"
        and protocol.tasks == ("sgdet",)
        and not protocol.queries(TRUTH, "sgdet")
    )


@st.composite
def splits(draw: st.DrawFn) -> Images:
    """Few classes, boxes and scores, so that hits, repeats and ties are common."""
    return [draw(_images()) for _ in range(draw(st.integers(1, 3)))]


@st.composite
def _images(draw: st.DrawFn) -> tuple[GroundTruthGraph, PredictedGraph]:
    boxes = st.sampled_from(
        [(0, 0, 4, 4), (0, 0, 4, 2), (0, 0, 4, 3), (1, 0, 5, 4), (6, 0, 9, 4), (2, 2, 2, 2)]
    )
    entities = st.lists(
        st.tuples(boxes, st.sampled_from([0, 0, 0, 1, 1, 2, NUM_CLASSES - 1])), min_size=1, max_size=5
    )
    graphs = []
    for _ in range(2):
        drawn = draw(entities)
        end = st.integers(0, len(drawn) - 1)
        triplet = st.tuples(end, end, st.sampled_from([0, 0, 0, 1, NUM_PREDICATES - 1]))
        graphs.append((drawn, draw(st.lists(triplet, max_size=8))))
    (true_entities, relations), (found_entities, found) = graphs
    # A prediction has each triplet once, and no triplet of an entity with itself.
    found = [row for row in dict.fromkeys(found) if row[0] != row[1]]
    truth = verified(
        truth_graph([box for box, _ in true_entities], [label for _, label in true_entities], relations),
        *draw(st.lists(st.integers(0, NUM_CLASSES - 1), max_size=3, unique=True)),
    )
    scores = sorted(draw(st.lists(st.sampled_from([0.25, 0.5, 0.75]), min_size=8, max_size=8)), reverse=True)
    pairs = [row[:2] for row in found]
    rows = [(*row, scores[i], pairs[:i].count(row[:2]) + 1) for i, row in enumerate(found)]
    return truth, predicted_graph(
        [box for box, _ in found_entities], [label for _, label in found_entities], rows
    )


def slow(images: Images, **options: object) -> dict[str, float]:
    return slow_openimages([image_dict(truth, predicted) for truth, predicted in images], NAMES, **options)


@given(splits(), st.sampled_from([(), ("has",), ("on", "near")]), st.integers(1, 3), st.integers(1, 8))
def test_equals_the_definitions(
    images: Images, excluded_predicates: tuple[str, ...], predicates_per_pair: int, list_length: int
) -> None:
    chosen = {
        "excluded_predicates": excluded_predicates,
        "predicates_per_pair": predicates_per_pair,
        "list_length": list_length,
    }
    assert score(*images, **chosen) == pytest.approx(slow(images, **chosen), nan_ok=True)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_long_lists_equal_the_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(4):
        boxes = rng.integers(0, 3, size=(15, 4)) + np.array([0, 0, 6, 6])
        classes = rng.integers(0, NUM_CLASSES, size=15)
        pairs = rng.permutation([(s, o) for s in range(15) for o in range(15) if s != o])[:80]
        # 160 of the 240 triplets of these pairs, in random order; 60 of them are also annotated.
        pair, predicate = np.divmod(rng.permutation(len(pairs) * NUM_PREDICATES)[:160], NUM_PREDICATES)
        relations = np.column_stack([pairs[pair], predicate])
        known = rng.choice(NUM_CLASSES, size=2, replace=False)
        truth = verified(truth_graph(boxes, classes, rng.permutation(relations)[:60]), *known)
        scores = -np.sort(-rng.integers(1, 50, size=160) / 50)
        rank = [1 + int((pair[:i] == pair[i]).sum()) for i in range(160)]
        images.append((truth, predicted_graph(boxes, classes, np.column_stack([relations, scores, rank]))))
    metrics = score(*images)
    assert 0 < metrics["R@50"] < metrics["R@100"]
    assert metrics == pytest.approx(slow(images), nan_ok=True)
    everything = {"predicates_per_pair": ALL_PREDICATES, "list_length": ALL_PREDICATES}
    assert score(*images, **everything) == pytest.approx(slow(images, **everything), nan_ok=True)


@given(splits(), st.sampled_from([1 / 1024, 8.0]))
def test_the_size_of_pixels_does_not_matter(images: Images, scale: float) -> None:
    scaled = [
        [dataclasses.replace(graph, boxes=graph.boxes * scale) for graph in (truth, predicted)]
        for truth, predicted in images
    ]
    np.testing.assert_equal(score(*scaled), score(*images))


@given(splits(), st.randoms(use_true_random=False))
def test_numbers_of_entities_do_not_matter(images: Images, random: object) -> None:
    renumbered: Images = []
    for truth, predicted in images:
        order, row = _permutation(len(truth.boxes), random)
        relations = truth.relations.copy()
        relations[:, :2] = row[relations[:, :2]]
        shuffled = truth.boxes[order], truth.classes[order], relations, truth.verified_classes[::-1]
        order, row = _permutation(len(predicted.boxes), random)
        triplets = predicted.relations
        ends = {"subject": row[triplets.subject], "object": row[triplets.object]}
        renumbered.append(
            (
                GroundTruthGraph(*shuffled),
                PredictedGraph(
                    predicted.boxes[order],
                    predicted.classes[order],
                    predicted.scores[order],
                    dataclasses.replace(triplets, **ends),
                ),
            )
        )
    np.testing.assert_equal(score(*renumbered), score(*images))


def _permutation(length: int, random: object) -> tuple[Sequence[int], np.ndarray]:
    """An order of the rows, and the new place of each row."""
    order = np.array(random.sample(range(length), length))
    return order, np.argsort(order)


@given(splits(), st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter_where_scores_differ(images: Images, random: object) -> None:
    distinct: Images = []
    for i, (truth, predicted) in enumerate(images):
        triplets = predicted.relations
        spread = np.arange(100, 100 - len(triplets), -1, dtype=np.float32) - np.float32(i / 64)
        distinct.append(
            (truth, dataclasses.replace(predicted, relations=dataclasses.replace(triplets, score=spread)))
        )
    every = [value for _, predicted in distinct for value in predicted.relations.score.tolist()]
    assert len(set(every)) == len(every)
    before = score(*distinct)
    random.shuffle(distinct)
    assert score(*distinct) == pytest.approx(before, nan_ok=True)
