import dataclasses
import tracemalloc
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reldn_d2.data import load_vrd
from reldn_d2.data.datasets.vrd import PREDICATE_CLASSES, parse_vrd_annotations
from reldn_d2.evaluation import (
    ConfusionProtocol,
    EvaluatedSplit,
    GroundTruthGraph,
    PredictedGraph,
    ProtocolResult,
    ScoredImage,
    TripletAnswers,
    evaluate_graphs,
    motifs,
    paired_bootstrap,
)
from reldn_d2.evaluation.ground_truth import ground_truth_graphs
from reldn_d2.evaluation.protocols import confusion
from reldn_d2.evaluation.protocols.confusion import (
    ConfusableCases,
    asks_too_much,
    confusion_frequency,
    confusion_triplets,
    instance_cases,
    is_confusable,
    outcomes,
    proximity_cases,
)
from reldn_d2.evaluation.protocols.registry import resolve_protocols
from tests.builders import confusion_examples as examples
from tests.builders.confusion_examples import PICTURES, Example
from tests.builders.evaluation_scenes import NAMES, predicted_graph, truth_graph
from tests.builders.tiny_models import REPOSITORY
from tests.references.confusion import Cases, Triplet, slow_cases, slow_detected, slow_outcome
from tools.benchmarks.crowds import crowd
from tools.draw_confusion_examples import picture

HOLDS, LOOKS_AT = 0, 1
PERSON, GLASS, GUITAR = 0, 1, 2
MAN, WOMAN, CHILD = (0, 0, 20, 60), (100, 0, 120, 60), (200, 0, 220, 60)
GLASS_1, GLASS_2, GLASS_3 = (25, 20, 35, 30), (50, 20, 60, 30), (70, 20, 80, 30)
SPLIT = EvaluatedSplit(NAMES)
PICTURE_SPLIT = EvaluatedSplit(examples.PREDICATES)
ALL_EXAMPLES = [example for scenes in PICTURES.values() for example in scenes]


def by_case(cases: ConfusableCases) -> Cases:
    found: Cases = {triplet: set() for triplet in map(tuple, cases.right.tolist())}
    assert len(found) == len(cases.right) and (np.diff(cases.case) >= 0).all()
    rights = list(found)
    for case, wrong in zip(cases.case.tolist(), map(tuple, cases.wrong.tolist()), strict=True):
        assert wrong not in found[rights[case]]
        found[rights[case]].add(wrong)
    return found


def instances(boxes: Sequence, classes: Sequence, relations: Sequence) -> Cases:
    return by_case(instance_cases(truth_graph(boxes, classes, relations)))


def neighbours(boxes: Sequence, classes: Sequence, relations: Sequence) -> Cases:
    return by_case(proximity_cases(truth_graph(boxes, classes, relations)))


def test_the_glass_that_is_not_held_can_be_taken_for_the_held_one() -> None:
    found = instances([MAN, GLASS_1, GLASS_2], [PERSON, GLASS, GLASS], [(0, 1, HOLDS)])
    assert found == {(0, 1, HOLDS): {(0, 2, HOLDS)}}


def test_the_person_who_does_not_hold_it_can_be_taken_for_the_one_who_does() -> None:
    found = instances([MAN, WOMAN, GLASS_1], [PERSON, PERSON, GLASS], [(1, 2, HOLDS)])
    assert found == {(1, 2, HOLDS): {(0, 2, HOLDS)}}


def test_another_class_is_not_confusable() -> None:
    assert not instances([MAN, GLASS_1, GLASS_2], [PERSON, GLASS, GUITAR], [(0, 1, HOLDS)])


def test_a_second_held_glass_is_not_wrong() -> None:
    both = [(0, 1, HOLDS), (0, 2, HOLDS)]
    assert not instances([MAN, GLASS_1, GLASS_2], [PERSON, GLASS, GLASS], both)
    found = instances([MAN, GLASS_1, GLASS_2, GLASS_3], [PERSON, GLASS, GLASS, GLASS], both)
    assert found == {(0, 1, HOLDS): {(0, 3, HOLDS)}, (0, 2, HOLDS): {(0, 3, HOLDS)}}


def test_a_glass_of_another_predicate_is_wrong() -> None:
    found = instances([MAN, GLASS_1, GLASS_2], [PERSON, GLASS, GLASS], [(0, 1, HOLDS), (0, 2, LOOKS_AT)])
    assert found == {(0, 1, HOLDS): {(0, 2, HOLDS)}, (0, 2, LOOKS_AT): {(0, 1, LOOKS_AT)}}


def test_subject_and_object_can_both_be_confused() -> None:
    found = instances(
        [MAN, WOMAN, GLASS_1, GLASS_2], [PERSON, PERSON, GLASS, GLASS], [(0, 2, HOLDS), (1, 3, HOLDS)]
    )
    crossed = {(0, 3, HOLDS), (1, 2, HOLDS)}
    assert found == {(0, 2, HOLDS): crossed, (1, 3, HOLDS): crossed}


def test_subject_and_object_are_not_candidates_for_each_other() -> None:
    assert not instances([MAN, WOMAN], [PERSON, PERSON], [(0, 1, LOOKS_AT)])
    found = instances([MAN, WOMAN, CHILD], [PERSON, PERSON, PERSON], [(0, 1, LOOKS_AT)])
    assert found == {(0, 1, LOOKS_AT): {(0, 2, LOOKS_AT), (2, 1, LOOKS_AT)}}


def test_a_relationship_of_an_entity_with_itself_is_no_case_and_no_neighbour() -> None:
    boxes, classes = [MAN, GLASS_1, GLASS_2], [PERSON, GLASS, GLASS]
    assert not instances(boxes, classes, [(1, 1, HOLDS)])
    assert not neighbours(boxes, classes, [(1, 1, HOLDS), (2, 2, HOLDS)])
    assert not neighbours(boxes, classes, [(1, 1, HOLDS), (0, 2, HOLDS)])


def test_repeated_annotations_count_once() -> None:
    found = instance_cases(truth_graph([MAN, GLASS_1, GLASS_2], [PERSON, GLASS, GLASS], [(0, 1, HOLDS)] * 3))
    assert found.right.tolist() == [[0, 1, HOLDS]]
    assert found.wrong.tolist() == [[0, 2, HOLDS]]


@pytest.mark.parametrize(("bottom", "is_one"), [(20.0, True), (20.01, False), (15.0, True)])
def test_boxes_of_half_overlap_are_one_entity(bottom: float, is_one: bool) -> None:
    # 10 x 10 in 10 x 20: an IoU of exactly one half
    glass, longer = (30, 0, 40, 10), (30, 0, 40, bottom)
    found = instances([MAN, glass, longer], [PERSON, GLASS, GLASS], [(0, 1, HOLDS)])
    assert bool(found) != is_one
    # ... also if the other one is annotated as held, and among more glasses
    found = instances(
        [MAN, glass, longer, GLASS_3], [PERSON, GLASS, GLASS, GLASS], [(0, 1, HOLDS), (0, 3, LOOKS_AT)]
    )
    assert ((0, 2, HOLDS) in found[0, 1, HOLDS]) != is_one
    assert found[0, 3, LOOKS_AT] == {(0, 1, LOOKS_AT), (0, 2, LOOKS_AT)}


def test_boxes_of_two_classes_are_two_entities() -> None:
    # a guitar in the man's place, held by the woman
    boxes, classes = [WOMAN, MAN, MAN, GLASS_1], [PERSON, PERSON, GUITAR, GUITAR]
    assert instances(boxes, classes, [(0, 2, HOLDS)])[0, 2, HOLDS] == {(1, 2, HOLDS), (0, 3, HOLDS)}


def test_entities_that_count_as_one_have_no_relationship() -> None:
    again = (0, 0, 20, 50)
    boxes, classes = [MAN, again, WOMAN], [PERSON, PERSON, PERSON]
    assert not instances(boxes, classes, [(0, 1, LOOKS_AT)])
    # (again, MAN) is not wrong if MAN looks at the woman
    assert instances([*boxes, CHILD], [PERSON] * 4, [(0, 2, LOOKS_AT)]) == {
        (0, 2, LOOKS_AT): {(0, 3, LOOKS_AT), (3, 2, LOOKS_AT)}
    }


GUITAR_1, GUITAR_2 = (60, 20, 80, 30), (70, 40, 90, 50)
BAND = [MAN, WOMAN, GUITAR_1, GUITAR_2]
BAND_CLASSES = [PERSON, PERSON, GUITAR, GUITAR]
PLAY = [(0, 2, HOLDS), (1, 3, HOLDS)]


def test_players_whose_boxes_overlap_can_be_crossed() -> None:
    crossed = {(0, 3, HOLDS), (1, 2, HOLDS)}
    assert neighbours(BAND, BAND_CLASSES, PLAY) == {PLAY[0]: crossed, PLAY[1]: crossed}


@pytest.mark.parametrize(("left", "top", "is_case"), [(79.9, 0, True), (80, 0, False), (90, 0, False)])
def test_touching_boxes_share_no_area(left: float, top: float, is_case: bool) -> None:
    second = (left, 40, 95, 50)
    assert bool(neighbours([MAN, WOMAN, GUITAR_1, second], BAND_CLASSES, PLAY)) == is_case


def test_boxes_apart_in_height_share_no_area() -> None:
    low = [(100, 60, 120, 90), (70, 70, 90, 80)]
    assert not neighbours([MAN, low[0], GUITAR_1, low[1]], BAND_CLASSES, PLAY)
    high = (100, 59, 120, 90)
    assert neighbours([MAN, high, GUITAR_1, low[1]], BAND_CLASSES, PLAY)


def test_a_line_inside_the_other_box_shares_no_area() -> None:
    point = (50, 10, 50, 10)
    assert not neighbours([MAN, point, GUITAR_1, (50, 40, 50, 40)], BAND_CLASSES, PLAY)


def test_neighbours_have_the_same_predicate() -> None:
    assert not neighbours(BAND, BAND_CLASSES, [(0, 2, HOLDS), (1, 3, LOOKS_AT)])


def test_neighbours_of_other_classes_count() -> None:
    found = neighbours(BAND, [PERSON, GLASS, GUITAR, GLASS], PLAY)
    assert found[0, 2, HOLDS] == {(0, 3, HOLDS), (1, 2, HOLDS)}


def test_relationships_that_share_an_entity_are_no_neighbours() -> None:
    assert not neighbours(BAND, BAND_CLASSES, [(0, 2, HOLDS), (0, 3, HOLDS)])
    assert not neighbours(BAND, BAND_CLASSES, [(0, 2, HOLDS), (1, 2, HOLDS)])


def test_annotated_crossings_are_not_wrong() -> None:
    every = [*PLAY, (0, 3, HOLDS), (1, 2, HOLDS)]
    assert not neighbours(BAND, BAND_CLASSES, every)
    # with one crossing annotated: it is no case, because the others share an entity with it
    found = neighbours(BAND, BAND_CLASSES, every[:3])
    assert found == {PLAY[0]: {(1, 2, HOLDS)}, PLAY[1]: {(1, 2, HOLDS)}}


def test_each_of_three_players_competes_with_both_others() -> None:
    third = [(40, 0, 50, 60), (75, 30, 85, 35)]
    found = neighbours([*BAND, *third], [*BAND_CLASSES, PERSON, GUITAR], [*PLAY, (4, 5, HOLDS)])
    assert found[4, 5, HOLDS] == {(4, 2, HOLDS), (4, 3, HOLDS), (0, 5, HOLDS), (1, 5, HOLDS)}
    assert found[0, 2, HOLDS] == {(0, 3, HOLDS), (0, 5, HOLDS), (1, 2, HOLDS), (4, 2, HOLDS)}
    assert len(found) == 3


def test_the_two_directions_of_a_relationship_are_no_neighbours() -> None:
    # the crossed triplets would join an entity with itself
    assert not neighbours([MAN, WOMAN, CHILD], [PERSON] * 3, [(0, 1, LOOKS_AT), (1, 0, LOOKS_AT)])


@pytest.mark.parametrize(
    "relations", [[(0, 1, LOOKS_AT), (1, 2, LOOKS_AT)], [(1, 2, LOOKS_AT), (0, 1, LOOKS_AT)]]
)
@pytest.mark.parametrize("chain", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_links_of_a_chain_are_no_neighbours(relations: list, chain: list[int]) -> None:
    boxes = [MAN, (15, 0, 40, 60), (35, 0, 60, 60)]
    assert not neighbours([boxes[i] for i in chain], [PERSON] * 3, relations)


def test_a_chain_may_go_through_an_entity_annotated_twice() -> None:
    middle, again = (30, 0, 60, 60), (30, 0, 60, 50)
    people = [MAN, middle, again, WOMAN]
    links = [(0, 1, LOOKS_AT), (2, 3, LOOKS_AT)]
    assert not neighbours(people, [PERSON] * 4, links)
    assert neighbours(people, [PERSON, PERSON, GUITAR, GUITAR], links)


def test_a_player_annotated_twice_is_no_neighbour_of_himself() -> None:
    again = (0, 0, 20, 50)
    assert not neighbours([MAN, again, GUITAR_1, GUITAR_2], BAND_CLASSES, PLAY)


@pytest.mark.parametrize(
    ("boxes", "relations"), [([], []), ([MAN], []), ([MAN], [(0, 0, HOLDS)]), ([MAN, WOMAN, CHILD], [])]
)
def test_little_annotation_has_no_cases(boxes: list, relations: list) -> None:
    truth = truth_graph(boxes, [PERSON] * len(boxes), relations)
    for cases in (instance_cases(truth), proximity_cases(truth)):
        assert cases.right.shape == cases.wrong.shape == (0, 3) and cases.case.shape == (0,)
    assert confusion_triplets(truth).shape == (0, 3)
    assert not is_confusable(truth)


def test_either_kind_makes_an_image_confusable() -> None:
    only_instance = truth_graph([MAN, GLASS_1, GLASS_2], [PERSON, GLASS, GLASS], [(0, 1, HOLDS)])
    only_proximity = truth_graph(BAND, [0, 1, 2, 3], PLAY)
    assert not by_case(proximity_cases(only_instance)) and is_confusable(only_instance)
    assert not by_case(instance_cases(only_proximity)) and is_confusable(only_proximity)
    assert not is_confusable(truth_graph(BAND, [0, 1, 2, 3], PLAY[:1]))


def answers(scores: Mapping[Triplet, float | None]) -> TripletAnswers:
    """Answers about triplets. A triplet with score None was not detected."""
    subject, object, predicate = np.array(list(scores), dtype=np.int64).reshape(-1, 3).T
    detected = np.array([score is not None for score in scores.values()], dtype=np.bool_)
    score = np.array([score or 0.0 for score in scores.values()], dtype=np.float32)
    return TripletAnswers(subject, object, predicate, score, detected)


# the man holds glass 1 of three
THREE_GLASSES = truth_graph([MAN, GLASS_1, GLASS_2, GLASS_3], [PERSON, GLASS, GLASS, GLASS], [(0, 1, HOLDS)])


@pytest.mark.parametrize(
    ("held", "second", "third", "shares"),
    [
        (0.5, 0.4, 0.3, (1, 0, 0)),
        (0.4, 0.3, 0.5, (0, 1, 0)),
        (0.1, 0.3, 0.5, (0, 1, 0)),
        (0.5, 0.5, 0.3, (0.5, 0.5, 0)),
        (0.5, 0.5, 0.5, (0.5, 0.5, 0)),
        (0.5, 0.5, 0.6, (0, 1, 0)),
        (None, 0.4, 0.3, (0, 0, 1)),
        (None, None, None, (0, 0, 1)),
        (0.5, None, 0.6, (0, 1, 0)),
        (0.5, 0.4, None, (1, 0, 0)),
        (0.1, None, None, (1, 0, 0)),
        # score 0, not considered: a tie with triplets that can't be predicted either
        (0.0, None, None, (0.5, 0.5, 0)),
        (0.0, 0.0, 0.0, (0.5, 0.5, 0)),
        (0.0, None, 0.1, (0, 1, 0)),
    ],
)
def test_outcomes(held: float | None, second: float | None, third: float | None, shares: tuple) -> None:
    scores = {(0, 3, HOLDS): third, (0, 1, HOLDS): held, (0, 2, HOLDS): second}
    assert outcomes(instance_cases(THREE_GLASSES), answers(scores)).tolist() == [list(shares)]


def test_a_score_left_over_from_an_undetected_triplet_does_not_compete() -> None:
    scores = dataclasses.replace(
        answers({(0, 1, HOLDS): 0.5, (0, 2, HOLDS): 0.9, (0, 3, HOLDS): 0.1}),
        detected=np.array([True, False, True]),
    )
    assert outcomes(instance_cases(THREE_GLASSES), scores).tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("scores", [{}, {(0, 1, HOLDS): 0.5, (0, 2, HOLDS): 0.4, (0, 3, LOOKS_AT): 0.1}])
def test_a_case_without_answer_is_an_error(scores: dict) -> None:
    with pytest.raises(ValueError, match=r"lack a triplet of a case \(no row is"):
        outcomes(instance_cases(THREE_GLASSES), answers(scores))


def score_all(truth: GroundTruthGraph, scores: Mapping[Triplet, float | None]) -> PredictedGraph:
    """A prediction with triplet answers alone. Triplets without a score get 0."""
    asked = [tuple(row) for row in confusion_triplets(truth).tolist()]
    return dataclasses.replace(
        PredictedGraph.empty(),
        triplet_answers=answers({triplet: scores.get(triplet, 0.0) for triplet in asked}),
    )


def evaluate(
    truths: Mapping[str, GroundTruthGraph], predictions: Mapping[str, PredictedGraph], **options: object
) -> dict[str, ProtocolResult]:
    return evaluate_graphs(truths, predictions, "sgdet", [ConfusionProtocol()], SPLIT, **options)


HELD = {(0, 1, HOLDS): 0.9}
NOT_HELD = {(0, 2, HOLDS): 0.9}
GOOD, BAD, UNSURE = (score_all(THREE_GLASSES, scores) for scores in (HELD, NOT_HELD, {}))
BAND_TRUTH = truth_graph(BAND, BAND_CLASSES, PLAY)
METRICS = {
    "instance": ("entity_instance_right", "entity_instance_confusion_rate", "entity_instance_missed"),
    "proximity": ("proximal_right", "proximal_ambiguity_rate", "proximal_missed"),
}


def shares_of(result: ProtocolResult, kind: str) -> list[float]:
    """The shares; an empty list if they are undefined."""
    return [result.metrics[name] for name in METRICS[kind] if name in result.metrics]


def test_shares_are_of_all_cases() -> None:
    truths = {"a": THREE_GLASSES, "b": THREE_GLASSES, "c": BAND_TRUTH}
    # in c the first relationship is missed, the second one confused
    mixed = score_all(BAND_TRUTH, {PLAY[0]: None, PLAY[1]: 0.4, (0, 3, HOLDS): 0.5})
    result = evaluate(truths, {"a": GOOD, "b": UNSURE, "c": mixed})["confusion"]
    assert shares_of(result, "instance") == [37.5, 37.5, 25.0]
    assert shares_of(result, "proximity") == [0.0, 50.0, 50.0]
    chances = ("entity_instance_chance", "proximal_chance")
    assert set(result.metrics) == {*chances, *(name for names in METRICS.values() for name in names)}
    assert [result.metrics[name] for name in chances] == pytest.approx([100 / 3, 100 / 3])
    assert [note.partition(".")[0] for note in result.notes] == [
        "4 instance cases in 3 images",
        "2 proximity cases in 1 images",
    ]


def test_a_kind_without_cases_is_undefined() -> None:
    result = evaluate({"a": THREE_GLASSES}, {"a": GOOD})["confusion"]
    assert shares_of(result, "instance") == [100.0, 0.0, 0.0]
    assert shares_of(result, "proximity") == []
    assert result.notes[1].startswith("0 proximity cases in 0 images.")
    assert "proximal_chance" not in result.metrics
    assert result.per_image["confusion_proximity"].ground_truths.tolist() == [0]


def test_the_table_of_predicates() -> None:
    truth = truth_graph([MAN, GLASS_1, GLASS_2], [PERSON, GLASS, GLASS], [(0, 1, HOLDS), (0, 2, LOOKS_AT)])
    scored = score_all(truth, {(0, 1, HOLDS): 0.1, (0, 1, LOOKS_AT): 0.7})
    columns = evaluate({"a": truth, "b": THREE_GLASSES}, {"a": scored, "b": UNSURE})[
        "confusion"
    ].per_predicate
    assert list(columns) == ["instance cases", *METRICS["instance"], "proximity cases", *METRICS["proximity"]]
    assert columns["instance cases"].tolist() == [2, 1, 0]
    assert columns["proximity cases"].tolist() == [0, 0, 0]
    np.testing.assert_equal(columns["entity_instance_right"], [75.0, 0.0, np.nan])
    np.testing.assert_equal(columns["entity_instance_confusion_rate"], [25.0, 100.0, np.nan])
    np.testing.assert_equal(columns["entity_instance_missed"], [0.0, 0.0, np.nan])
    np.testing.assert_equal(columns["proximal_right"], [np.nan] * 3)


def test_the_chance_level_is_the_mean_over_cases() -> None:
    truth = truth_graph([MAN, GLASS_1, GLASS_2], [PERSON, GLASS, GLASS], [(0, 1, HOLDS)])
    result = evaluate({"a": truth, "b": THREE_GLASSES}, {"a": score_all(truth, {}), "b": GOOD})["confusion"]
    assert result.metrics["entity_instance_chance"] == pytest.approx(100 * (1 / 2 + 1 / 3) / 2)


def test_halves_are_kept_for_each_image_and_can_be_compared() -> None:
    truths = {"a": THREE_GLASSES, "b": THREE_GLASSES, "c": truth_graph([MAN], [PERSON], [])}
    empty = score_all(truths["c"], {})
    ours = evaluate(truths, {"a": GOOD, "b": UNSURE, "c": empty})["confusion"]
    theirs = evaluate(truths, {"a": UNSURE, "b": BAD, "c": empty})["confusion"]
    counts = ours.per_image["confusion_instance"]
    assert counts.image_ids == ("a", "b", "c") and counts.ground_truths.tolist() == [1, 1, 0]
    assert counts.hits["entity_instance_right"].tolist() == [1.0, 0.5, 0.0]
    assert counts.hits["entity_instance_confusion_rate"].tolist() == [0.0, 0.5, 0.0]
    found = paired_bootstrap(counts, theirs.per_image["confusion_instance"], "entity_instance_right")
    assert found["micro"].mean == found["micro"].low == found["micro"].high == 50.0


def test_an_image_without_prediction_is_missed() -> None:
    truths = {"a": THREE_GLASSES, "b": BAND_TRUTH}
    result = evaluate(truths, {"a": GOOD}, allow_missing=True)["confusion"]
    assert shares_of(result, "instance") == pytest.approx([100 / 3, 0.0, 200 / 3])
    assert shares_of(result, "proximity") == [0.0, 0.0, 100.0]
    with pytest.raises(ValueError, match="image b"):
        evaluate(truths, {"a": GOOD})


def test_an_image_that_asks_too_much_is_not_scored_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    truths = {"a": THREE_GLASSES, "b": BAND_TRUTH, "c": THREE_GLASSES}
    predictions = {"a": GOOD, "b": score_all(BAND_TRUTH, {PLAY[0]: 1.0}), "c": BAD}
    assert [len(confusion_triplets(truth)) for truth in truths.values()] == [3, 4, 3]
    assert not any(map(asks_too_much, truths.values()))

    monkeypatch.setattr(confusion, "MOST_TRIPLETS", 3)
    assert [asks_too_much(truth) for truth in truths.values()] == [False, True, False]
    assert confusion_triplets(BAND_TRUTH).shape == (0, 3)
    assert not ConfusionProtocol().queries(BAND_TRUTH, "sgdet")
    others = evaluate({"a": THREE_GLASSES, "c": THREE_GLASSES}, {"a": GOOD, "c": BAD})["confusion"]
    # with and without answers
    for b in (predictions["b"], PredictedGraph.empty()):
        found = evaluate(truths, predictions | {"b": b})["confusion"]
        np.testing.assert_equal(found.metrics, others.metrics)
        np.testing.assert_equal(found.per_predicate, others.per_predicate)
        assert found.per_image["confusion_instance"].ground_truths.tolist() == [1, 0, 1]
        assert found.notes[0] == (
            "1 image is not scored, because the cases have more than 3 triplets in an image: image b."
        )
        assert found.excluded == found.notes[0] and others.excluded == ""
        assert found.notes[1:] == others.notes
    # the image stays in the confusion subset, which other protocols are reported on
    assert is_confusable(BAND_TRUTH)


def test_many_images_that_ask_too_much_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusion, "MOST_TRIPLETS", 2)
    truths = {str(i): THREE_GLASSES for i in range(7)}
    (note, instance, _) = evaluate(truths, {}, allow_missing=True)["confusion"].notes
    assert note.startswith("7 images are not scored") and note.endswith("image 0, 1, 2, 3, 4 and others.")
    assert instance.startswith("0 instance cases in 0 images.")


def test_memory_of_a_crowded_image_grows_with_its_wrong_triplets() -> None:
    truth = crowd(400, 600)
    tracemalloc.start()
    try:
        triplets = confusion_triplets(truth)
        frequency = confusion_frequency([truth])
        scores = np.linspace(0, 1, len(triplets), dtype=np.float32)
        answered = TripletAnswers(*triplets.T, scores, np.ones(len(triplets), dtype=np.bool_))
        predicted = dataclasses.replace(PredictedGraph.empty(), triplet_answers=answered)
        judged = ConfusionProtocol().match(ScoredImage("1", truth, predicted), "prdcls")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 50 MB, and far more than 1 GB for a table of triplets and relationships
    assert len(triplets) == 151_611 and peak < 150e6
    for kind, cases in judged.items():
        assert len(cases.predicate) == frequency.cases[kind].item() > 500


def test_counting_an_image_that_asks_too_much_stops_early() -> None:
    # 14 million triplets, whose numbers alone take 350 MB
    truth = crowd(4_800, 2_400)
    tracemalloc.start()
    try:
        assert ConfusionProtocol().match(ScoredImage("1", truth, PredictedGraph.empty()), "prdcls") is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200e6


def test_every_protocol_can_be_reported_on_the_confusable_images_alone() -> None:
    plain = truth_graph([MAN, GLASS_1], [PERSON, GLASS], [(0, 1, HOLDS)])
    truths = {"a": THREE_GLASSES, "b": plain}
    nothing_asked = score_all(plain, {}).triplet_answers
    found = predicted_graph([MAN, GLASS_1], [PERSON, GLASS], [(0, 1, HOLDS, 0.9, 1)])
    predictions = {"a": GOOD, "b": dataclasses.replace(found, triplet_answers=nothing_asked)}
    subset = {name for name, truth in truths.items() if is_confusable(truth)}
    results = evaluate_graphs(
        truths,
        predictions,
        "sgdet",
        [motifs(), ConfusionProtocol()],
        SPLIT,
        subsets={"confusable": subset},
    )
    assert subset == {"a"}
    assert list(results) == ["motifs", "motifs_confusable", "confusion", "confusion_confusable"]
    assert results["motifs"].metrics["R@50"] == 50.0
    assert results["motifs_confusable"].metrics["R@50"] == 0.0
    assert results["confusion_confusable"].per_image["confusion_instance_confusable"].image_ids == ("a",)
    np.testing.assert_equal(results["confusion_confusable"].metrics, results["confusion"].metrics)


@pytest.mark.parametrize("task", ["sgdet", "sgcls", "prdcls"])
def test_the_protocol_asks_about_the_triplets_of_cases_in_all_tasks(task: str) -> None:
    (protocol,) = resolve_protocols(["confusion"], task, NAMES)
    queries = protocol.queries(THREE_GLASSES, task)
    assert protocol.name == "confusion" and len(queries.pairs) == 0
    assert queries.triplets.tolist() == [[0, 1, HOLDS], [0, 2, HOLDS], [0, 3, HOLDS]]


@st.composite
def annotations(draw: st.DrawFn) -> GroundTruthGraph:
    # Boxes on a coarse grid, so that touching and half-overlapping ones are common.
    count = draw(st.integers(0, 5))
    corner, side = st.integers(0, 4), st.integers(0, 3)
    boxes = [
        (x, y, x + width, y + height)
        for x, y, width, height in draw(
            st.lists(st.tuples(corner, corner, side, side), min_size=count, max_size=count)
        )
    ]
    classes = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    entity = st.integers(0, count - 1)
    relations = st.lists(st.tuples(entity, entity, st.integers(0, 1)), max_size=6)
    return truth_graph(boxes, classes, draw(relations) if count else [])


def slow(truth: GroundTruthGraph) -> dict[str, Cases]:
    relations = [tuple(row) for row in truth.relations.tolist()]
    return slow_cases(truth.boxes.tolist(), truth.classes.tolist(), relations)


def fast(truth: GroundTruthGraph) -> dict[str, Cases]:
    return {"instance": by_case(instance_cases(truth)), "proximity": by_case(proximity_cases(truth))}


@given(annotations())
def test_cases_equal_the_definitions(truth: GroundTruthGraph) -> None:
    assert fast(truth) == slow(truth)


def assert_equal_cases(a: ConfusableCases, b: ConfusableCases) -> None:
    for rows, others in zip(vars(a).values(), vars(b).values(), strict=True):
        np.testing.assert_array_equal(rows, others, strict=True)


@given(annotations(), st.integers(1, 40))
def test_parts_of_any_size_give_the_same_cases(truth: GroundTruthGraph, cells: int) -> None:
    whole = [find(truth) for find in confusion.KINDS.values()]
    asked, frequency = confusion_triplets(truth), confusion_frequency([truth])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confusion, "_CELLS", cells)
        for cases, find in zip(whole, confusion.KINDS.values(), strict=True):
            assert_equal_cases(find(truth), cases)
        np.testing.assert_array_equal(confusion_triplets(truth), asked)
        np.testing.assert_equal(vars(confusion_frequency([truth])), vars(frequency))
        assert is_confusable(truth) == bool(len(asked))


@pytest.mark.parametrize(("boxes", "relationships", "classes"), [(12, 60, 1), (30, 60, 2), (25, 120, 3)])
def test_crowded_images_equal_the_definitions(boxes: int, relationships: int, classes: int) -> None:
    # in a corner, so that many boxes count as one entity; some relationships are annotated twice
    truth = crowd(boxes, relationships, classes=classes, predicates=2)
    truth = truth_graph(
        truth.boxes % 25 + [0, 0, 25, 25], truth.classes, [*truth.relations, *truth.relations[:9]]
    )
    found = fast(truth)
    assert found == slow(truth)
    assert sum(map(len, found["instance"].values())) > relationships


@given(annotations())
def test_exactly_the_triplets_of_cases_are_asked_for(truth: GroundTruthGraph) -> None:
    expected = {
        triplet
        for cases in slow(truth).values()
        for right, wrong in cases.items()
        for triplet in (right, *wrong)
    }
    assert list(map(tuple, confusion_triplets(truth).tolist())) == sorted(expected)
    assert is_confusable(truth) == bool(expected)


@given(annotations(), st.randoms(use_true_random=False))
def test_the_order_of_the_annotation_has_no_influence(truth: GroundTruthGraph, random: object) -> None:
    order = list(range(len(truth.boxes)))
    random.shuffle(order)
    place = {entity: row for row, entity in enumerate(order)}
    relations = [(place[s], place[o], p) for s, o, p in truth.relations.tolist()]
    random.shuffle(relations)
    shuffled = truth_graph(truth.boxes[order], truth.classes[order], relations)

    def moved(triplet: Triplet) -> Triplet:
        return place[triplet[0]], place[triplet[1]], triplet[2]

    assert fast(shuffled) == {
        kind: {moved(right): set(map(moved, wrong)) for right, wrong in cases.items()}
        for kind, cases in fast(truth).items()
    }


@given(annotations(), st.sampled_from([0.125, 2.0, 64.0]), st.integers(0, 100))
def test_size_and_place_of_the_image_have_no_influence(
    truth: GroundTruthGraph, scale: float, shift: int
) -> None:
    assert fast(dataclasses.replace(truth, boxes=truth.boxes * scale + shift)) == fast(truth)


@given(st.lists(annotations(), min_size=1, max_size=4), st.data())
def test_shares_equal_the_definitions(split: list[GroundTruthGraph], data: st.DataObject) -> None:
    assume(any(len(truth.relations) for truth in split))
    level = st.sampled_from([None, 0.0, 0.25, 0.5])  # few levels: ties are common
    truths, predictions, expected = {}, {}, {"instance": [], "proximity": []}
    for i, truth in enumerate(split):
        asked = [tuple(row) for row in confusion_triplets(truth).tolist()]
        scores = {triplet: data.draw(level) for triplet in asked}
        truths[str(i)], predictions[str(i)] = truth, score_all(truth, scores)
        for kind, cases in slow(truth).items():
            expected[kind] += [slow_outcome(right, wrong, scores) for right, wrong in cases.items()]
    result = evaluate(truths, predictions)["confusion"]
    for kind, shares in expected.items():
        mean = 100 * np.mean(shares, axis=0) if shares else []
        np.testing.assert_allclose(shares_of(result, kind), mean)
        assert not shares or sum(shares_of(result, kind)) == pytest.approx(100)
        assert result.per_image[f"confusion_{kind}"].ground_truths.sum() == len(shares)
    backwards = evaluate(dict(reversed(truths.items())), dict(reversed(predictions.items())))["confusion"]
    np.testing.assert_equal(dataclasses.asdict(backwards), dataclasses.asdict(result))


def test_chance_is_the_mean_over_all_orders_of_the_scores() -> None:
    truth = truth_graph(
        [MAN, WOMAN, GLASS_1, GLASS_2], [PERSON, PERSON, GLASS, GLASS], [(0, 2, HOLDS), (0, 3, LOOKS_AT)]
    )
    asked = [tuple(row) for row in confusion_triplets(truth).tolist()]
    judged = [
        ConfusionProtocol().match(
            ScoredImage("", truth, score_all(truth, dict(zip(asked, order, strict=True)))), "prdcls"
        )["instance"]
        for order in permutations([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    ]
    right = np.mean([image.shares[:, 0] for image in judged], axis=0)
    np.testing.assert_allclose(right, judged[0].chance)
    np.testing.assert_allclose(right, 1 / 3)


@pytest.mark.parametrize("index", range(len(ALL_EXAMPLES)), ids=[e.caption for e in ALL_EXAMPLES])
def test_the_scenes_of_the_documentation_are_what_their_pictures_say(index: int) -> None:
    example = ALL_EXAMPLES[index]
    wrong = {example.rows(right): set(map(example.rows, rows)) for right, rows in example.wrong.items()}
    assert fast(truth_of(example))[example.kind] == wrong
    for triplet in example.scores:
        found = slow_detected(
            *([e.box for e in example.entities], [e.category for e in example.entities]),
            *([e.box for e in example.detections], [e.category for e in example.detections]),
            example.rows(triplet),
        )
        assert not example.detections or found == (triplet not in example.undetected)


def truth_of(example: Example) -> GroundTruthGraph:
    return truth_graph(
        [entity.box for entity in example.entities],
        [entity.category for entity in example.entities],
        [example.rows(triplet) for triplet in example.relations],
    )


def score_examples(*scenes: Example) -> ProtocolResult:
    truths = {scene.caption: truth_of(scene) for scene in scenes}
    predictions = {}
    for scene in scenes:
        scores = {scene.rows(t): None if t in scene.undetected else s for t, s in scene.scores.items()}
        predictions[scene.caption] = score_all(truth_of(scene), scores)
    return evaluate_graphs(truths, predictions, "sgdet", [ConfusionProtocol()], PICTURE_SPLIT)["confusion"]


def test_the_numbers_of_the_documentation() -> None:
    assert shares_of(score_examples(examples.RIGHT), "instance") == [100.0, 0.0, 0.0]
    assert shares_of(score_examples(examples.CONFUSED), "instance") == [0.0, 100.0, 0.0]
    assert shares_of(score_examples(examples.TIE), "instance") == [50.0, 50.0, 0.0]
    together = score_examples(examples.RIGHT, examples.CONFUSED, examples.TIE)
    assert shares_of(together, "instance") == [50.0, 50.0, 0.0]
    assert together.metrics["entity_instance_chance"] == pytest.approx(100 / 3)
    assert shares_of(score_examples(examples.DETECTED), "instance") == [50.0, 0.0, 50.0]


def test_the_pictures_of_the_documentation_are_up_to_date() -> None:
    folder = REPOSITORY / "docs" / "images"
    assert {path.name for path in folder.glob("confusion_*.svg")} == set(PICTURES)
    for name, scenes in PICTURES.items():
        assert (folder / name).read_text() == picture(scenes), "run python -m tools.draw_confusion_examples"


def test_real_annotation_equals_the_definitions(dev_data: Path) -> None:
    truths = ground_truth_graphs(load_vrd(dev_data / "vrd_mini", "test"), 100, 70).values()
    found = [fast(truth) for truth in truths]
    assert found == [slow(truth) for truth in truths]
    relationships = sum(len(truth.relations) for truth in truths)
    for kind in METRICS:
        cases = sum(len(image[kind]) for image in found)
        assert 0.1 * relationships < cases < 0.7 * relationships


def test_vrd_has_the_documented_cases(dev_data: Path) -> None:
    dicts = parse_vrd_annotations(dev_data / "vrd_official" / "annotations_test.json")
    truths = ground_truth_graphs(dicts, 100, 70)
    split = EvaluatedSplit(PREDICATE_CLASSES)
    found = evaluate_graphs(truths, {}, "sgdet", ["confusion"], split, allow_missing=True)["confusion"]
    for kind, documented in (("instance", (3_476, 544)), ("proximity", (1_547, 385))):
        cases = found.per_image[f"confusion_{kind}"].ground_truths
        assert (cases.sum(), np.count_nonzero(cases)) == documented
    chances = [found.metrics[name] for name in ("entity_instance_chance", "proximal_chance")]
    assert chances == pytest.approx([36.9, 30.9], abs=0.05)
    assert sum(map(is_confusable, truths.values())) == 622
