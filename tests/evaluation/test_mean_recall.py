"""Recall averaged over predicates and zero-shot recall, compared with numbers computed by hand."""

import numpy as np
import pytest

from reldn_d2.evaluation import (
    EvaluatedSplit,
    GroundTruthGraph,
    PredictedGraph,
    ProtocolResult,
    ScoredImage,
    motifs,
    reldn,
    training_split,
    vrd2016,
)
from tests.builders.evaluation_scenes import (
    NAMES,
    predicted_graph,
    score_images,
    training_truths,
    truth_graph,
)
from tests.references.evaluation import Labels

A, B = (0, 0, 9, 9), (20, 0, 29, 9)
# The predicates are "on", "has" and "near".
ON = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1)])
ON_THEN_HAS = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1), (0, 1, 1, 0.8, 2)])


def truth(*predicates: int) -> GroundTruthGraph:
    """Relationships of one pair. A triplet hits all relationships of its predicate."""
    return truth_graph([A, B], [0, 1], [(0, 1, p) for p in predicates])


def backwards(*predicates: int) -> list[tuple[int, int, int]]:
    return [(1, 0, p) for p in predicates]


def motifs_result(
    *images: tuple[GroundTruthGraph, PredictedGraph], training: list[Labels] | None = None
) -> ProtocolResult:
    known = None if training is None else training_split(training_truths(training), 2, 3)
    return score_images(motifs(), images, training=known)


# "on" is found once of 1 and once of 3 times, "has" never, "near" is not annotated.
IMAGES = [
    (truth(0), ON),
    (truth_graph([A, B], [0, 1], [(0, 1, 0), *backwards(0, 0, 1)]), ON),
]


def test_the_usual_form_averages_over_images_before_predicates_and_the_pooled_one_does_not() -> None:
    metrics = motifs_result(*IMAGES).metrics
    assert metrics["mR@50"] == pytest.approx(100 * ((1 + 1 / 3) / 2 + 0) / 2)
    assert metrics["pooled_mR@50"] == pytest.approx(100 * (2 / 4 + 0) / 2)


def test_predicates_that_are_not_annotated_count_as_zero_over_all() -> None:
    metrics = motifs_result(*IMAGES).metrics
    assert metrics["mR_all@50"] == pytest.approx(100 * ((1 + 1 / 3) / 2 + 0) / 3)
    assert metrics["pooled_mR_all@50"] == pytest.approx(100 * (2 / 4 + 0) / 3)


def test_images_without_a_predicate_do_not_lower_its_recall() -> None:
    metrics = motifs_result((truth(0), ON), (truth(1), ON), (truth(), ON)).metrics
    assert metrics["mR@50"] == pytest.approx(100 * (1 + 0) / 2)


def test_the_table_and_the_note_say_what_was_averaged() -> None:
    result = motifs_result(*IMAGES, training=[(0, 1, 2)])
    table = result.per_predicate
    np.testing.assert_allclose(table["R@50"], [100 * 2 / 3, 0, np.nan])
    np.testing.assert_allclose(table["pooled_R@50"], [50, 0, np.nan])
    assert table["annotated"].tolist() == [4, 1, 0] and table["in training"].tolist() == [0, 0, 1]
    assert result.notes[:2] == [
        "zR: recall of the 5 of 5 relationships whose labels never occur together in training.",
        "mR is the mean over the 2 predicates that are annotated, mR_all over all 3.",
    ]


def test_several_predicates_a_pair_have_their_own_mean_recall() -> None:
    metrics = motifs_result((truth(0, 1, 2), ON_THEN_HAS)).metrics
    assert metrics["mR@20"] == pytest.approx(100 / 3) and metrics["ngmR@20"] == pytest.approx(200 / 3)
    assert metrics["pooled_ngmR_all@100"] == pytest.approx(200 / 3)


def test_groups_skip_predicates_that_are_not_annotated() -> None:
    # One predicate a group: "near" is the head, "has" the body, "on" the tail.
    training = [(1, 1, 2), (1, 1, 2), (1, 1, 2), (1, 1, 1), (1, 1, 1), (1, 1, 0)]
    metrics = motifs_result(*IMAGES, training=training).metrics
    assert not [name for name in metrics if "head" in name]
    assert metrics["mR_body@50"] == 0.0 and metrics["mR_tail@50"] == pytest.approx(100 * 2 / 3)


def test_equal_training_counts_put_the_first_predicate_into_the_head() -> None:
    metrics = motifs_result((truth(0, 1, 2), ON_THEN_HAS), training=[]).metrics
    assert (metrics["mR_head@50"], metrics["mR_body@50"], metrics["mR_tail@50"]) == (100.0, 0.0, 0.0)
    assert (metrics["ngmR_head@50"], metrics["ngmR_body@50"], metrics["ngmR_tail@50"]) == (100.0, 100.0, 0.0)


@pytest.mark.parametrize(
    ("num_predicates", "expected"),
    [(2, (None, 100.0, 0.0)), (4, (100.0, 0.0, 0.0)), (5, (100.0, 50.0, 0.0))],
)
def test_groups_whose_number_is_not_divisible_by_three(
    num_predicates: int, expected: tuple[float, ...]
) -> None:
    # Predicate 0 is found; of five predicates, 2 is found, too.
    # The groups are {}, {0}, {1}; {0}, {1}, {2, 3}; {0}, {1, 2}, {3, 4}.
    found = [(0, 1, 0, 0.9, 1)] + ([(1, 0, 2, 0.8, 1)] if num_predicates == 5 else [])
    relations = [(0, 1, p) for p in range(num_predicates) if p != 2]
    relations += [(1, 0, 2)] if num_predicates > 2 else []
    annotation = truth_graph([A, B], [0, 1], relations)
    image = ScoredImage(
        "1", annotation, predicted_graph([A, B], [0, 1], found), np.zeros(len(relations), dtype=np.bool_)
    )
    known = training_split([], 2, num_predicates)
    split = EvaluatedSplit([str(p) for p in range(num_predicates)], known)
    metrics = motifs().summarise(["1"], [motifs().match(image, "sgdet")], split).metrics
    groups = tuple(metrics.get(f"mR_{group}@50") for group in ("head", "body", "tail"))
    assert groups == pytest.approx(expected)


def test_groups_and_zero_shot_recall_need_the_training_split() -> None:
    metrics = motifs_result(*IMAGES).metrics
    assert not [name for name in metrics if "zR" in name or "head" in name]
    assert "in training" not in motifs_result(*IMAGES).per_predicate


def test_zero_shot_recall_counts_only_relationships_with_unseen_labels() -> None:
    # The labels of the found relationship ("on" from 0 to 1) occur in training.
    seen = motifs_result((truth(0, 1), ON_THEN_HAS), (truth(1, 2), ON), training=[(0, 1, 0)])
    assert seen.metrics["zR@50"] == 0.0
    assert seen.metrics["ngzR@50"] == pytest.approx(100 * (1 / 1 + 0 / 2) / 2)
    assert seen.metrics["micro_ngzR@50"] == pytest.approx(100 * 1 / 3)
    counts = seen.per_image["motifs_zero_shot"]
    assert counts.ground_truths.tolist() == [1, 2] and counts.hits["ngzR@20"].tolist() == [1, 0]


def test_zero_shot_recall_of_nothing_unseen_is_absent() -> None:
    training = [(0, 1, 0), (1, 0, 0), (1, 0, 1)]
    for protocol in (motifs(), reldn(), vrd2016()):
        known = training_split(training_truths(training), 2, 3)
        result = score_images(protocol, IMAGES, training=known)
        assert result.metrics and result.facts.keys() == result.metrics.keys()
        assert not [name for name in result.metrics if "zR@" in name]
        assert not any(np.isnan(value) for value in result.metrics.values())


def test_every_recall_protocol_has_predicates_and_their_groups() -> None:
    training = training_split([], 2, len(NAMES))
    for protocol, lists in (
        (reldn(), ("rel_k1_", "rel_k20_", "phr_k1_", "phr_k20_")),
        (vrd2016(), ("", "phr_")),
    ):
        result = score_images(protocol, IMAGES, training=training)
        assert result.per_predicate["annotated"].tolist() == [4, 1, 0]
        assert {name.partition("@")[0] for name in result.per_predicate} == {
            "annotated",
            "in training",
            *(f"pooled_{prefix}R" for prefix in lists),
        }
        for prefix in lists:
            np.testing.assert_allclose(result.per_predicate[f"pooled_{prefix}R@50"], [50, 0, np.nan])
            means = {
                name: result.metrics.get(f"pooled_{prefix}{name}@50")
                for name in ("mR", "mR_all", "mR_head", "mR_body", "mR_tail")
            }
            # Nothing is known of training, so "on" is the head, "has" the body and "near" the tail.
            assert means == {
                "mR": 25.0,
                "mR_all": pytest.approx(50 / 3),
                "mR_head": 50.0,
                "mR_body": 0.0,
                "mR_tail": None,
            }
