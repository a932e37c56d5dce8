"""Whole protocols, from probabilities to metrics, against plain loops written from the definitions."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.evaluation import ProtocolResult, motifs, rank_triplets, reldn, training_split, vrd2016
from reldn_d2.evaluation.protocols.recall import RecallProtocol
from tests.builders.evaluation_scenes import (
    NUM_CLASSES,
    NUM_PREDICATES,
    Scene,
    scenes,
    score_images,
    training_labels,
    training_truths,
)
from tests.references.evaluation import (
    ALL,
    Labels,
    RankedImage,
    slow_hit,
    slow_motifs,
    slow_reldn,
    slow_taken,
    slow_top,
    slow_vrd2016,
)

splits = st.lists(scenes(), min_size=1, max_size=4)
known_training = st.none() | training_labels
# In these small scenes short lists are full, but the published ones seldom are.
recall_places = st.sampled_from([(1, 2, 4), (3, 5, 8), None])
KS = (1, 2, 70)


def shortened(protocol: RecallProtocol, recall_at: tuple[int, ...] | None) -> RecallProtocol:
    if recall_at is None:
        return protocol
    return replace(protocol, recall_at=recall_at, list_length=max(recall_at))


def score(
    protocol: RecallProtocol,
    split: Sequence[Scene],
    task: str = "sgdet",
    training: Sequence[Labels] | None = None,
) -> ProtocolResult:
    images = []
    for scene in split:
        pairs = scene.pairs
        ranked = rank_triplets(
            pairs.subject, pairs.object, pairs.score, pairs.predicate_probs, protocol.list_length
        )
        images.append((scene.truth, replace(scene.predicted, relations=ranked)))
    known = None
    if training is not None:
        known = training_split(training_truths(training), NUM_CLASSES, NUM_PREDICATES)
    return score_images(protocol, images, task, known)


def ranked_images(split: Sequence[Scene], task: str = "sgdet") -> list[RankedImage]:
    return [
        RankedImage(x.truth, x.predicted, x.all_pairs if task == "sgdet" else x.annotated_pairs)
        for x in split
    ]


@given(splits, known_training, recall_places, st.sampled_from(["sgdet", "prdcls"]))
def test_motifs(
    split: list[Scene], training: list[Labels] | None, recall_at: tuple[int, ...] | None, task: str
) -> None:
    protocol = shortened(motifs(), recall_at)
    expected = slow_motifs(ranked_images(split), NUM_PREDICATES, training, protocol.recall_at)
    assert score(protocol, split, task, training).metrics == pytest.approx(expected)


@given(splits, known_training, recall_places, st.sampled_from(["sgdet", "sgcls", "prdcls"]))
def test_reldn(
    split: list[Scene], training: list[Labels] | None, recall_at: tuple[int, ...] | None, task: str
) -> None:
    protocol = shortened(reldn(KS), recall_at)
    expected = slow_reldn(ranked_images(split, task), KS, NUM_PREDICATES, training, protocol.recall_at)
    assert score(protocol, split, task, training).metrics == pytest.approx(expected)


@given(splits, known_training, recall_places)
def test_vrd2016(
    split: list[Scene], training: list[Labels] | None, recall_at: tuple[int, ...] | None
) -> None:
    protocol = shortened(vrd2016(), recall_at)
    expected = slow_vrd2016(ranked_images(split), NUM_PREDICATES, training, protocol.recall_at)
    assert score(protocol, split, training=training).metrics == pytest.approx(expected)


@given(scenes(max_entities=7))
def test_published_lists_of_larger_images(scene: Scene) -> None:
    image = ranked_images([scene])
    assert score(motifs(), [scene]).metrics == pytest.approx(slow_motifs(image, NUM_PREDICATES))
    assert score(reldn(KS), [scene]).metrics == pytest.approx(slow_reldn(image, KS, NUM_PREDICATES))
    assert score(vrd2016(), [scene]).metrics == pytest.approx(slow_vrd2016(image, NUM_PREDICATES))


@given(splits)
def test_counts_of_every_image(split: list[Scene]) -> None:
    several, single = score(motifs(), split).per_image["motifs"], score(vrd2016(), split).per_image["vrd2016"]
    for i, image in enumerate(ranked_images(split)):
        assert several.ground_truths[i] == single.ground_truths[i] == len(image.truth.relations)
        for at in (50, 100):
            assert several.hits[f"R@{at}"][i] == sum(slow_hit(image, slow_top(image.rows, 1, at), False))
            listed = slow_top(image.rows, ALL, at)
            assert several.hits[f"ngR@{at}"][i] == sum(slow_hit(image, listed, False))
            assert single.hits[f"R@{at}"][i] == sum(slow_taken(image, listed, False))
            assert single.hits[f"phr_R@{at}"][i] == sum(slow_taken(image, listed, True))


@given(splits, training_labels)
def test_zero_shot_recall_is_the_recall_of_an_annotation_without_what_training_has(
    split: list[Scene], training: list[Labels]
) -> None:
    known = training_split(training_truths(training), NUM_CLASSES, NUM_PREDICATES)
    unseen = [
        replace(x, truth=replace(x.truth, relations=x.truth.relations[known.is_zero_shot(x.truth)]))
        for x in split
    ]
    for protocol in (motifs(), reldn(KS), vrd2016()):
        metrics, expected = score(protocol, split, training=training).metrics, score(protocol, unseen).metrics
        pairs = {name: name.replace("zR@", "R@") for name in metrics if "zR@" in name}
        some = any(len(scene.truth.relations) for scene in unseen)
        assert len(pairs) == 2 * len(protocol.lists) * len(protocol.recall_at) * some
        np.testing.assert_equal(
            {name: metrics[name] for name in pairs}, {name: expected[plain] for name, plain in pairs.items()}
        )


@given(splits)
def test_taking_one_never_finds_more_than_hitting_several(split: list[Scene]) -> None:
    single, several = score(vrd2016(), split).metrics, score(motifs(), split).metrics
    for at in (50, 100):
        if f"R@{at}" in single:
            assert single[f"R@{at}"] <= several[f"micro_ngR@{at}"]
