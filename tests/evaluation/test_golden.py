"""The golden cases follow their schema, our evaluator gives their numbers, and they notice broken rules."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from typing import Any

import jsonschema
import numpy as np
import pytest

from reldn_d2.evaluation import (
    PROTOCOLS,
    GoldenCase,
    GroundTruthGraph,
    PredictedGraph,
    RankedTriplets,
    TrainingSplit,
    TripletAnswers,
    evaluate_graphs,
    golden_cases,
    make_protocols,
    matching,
    metrics,
    sorted_runs,
)
from reldn_d2.evaluation.checks import check_ground_truth, prepare_prediction
from reldn_d2.evaluation.columns import Columns
from reldn_d2.evaluation.matching import Matches, enclosing_boxes, true_positives
from reldn_d2.evaluation.metrics import PredicateRecall
from reldn_d2.evaluation.protocols import average_precision, confusion, openimages, recall
from reldn_d2.evaluation.protocols.average_precision import JudgedTriplets
from reldn_d2.evaluation.protocols.openimages import OpenImagesAblationProtocol, OpenImagesProtocol

FOLDER = resources.files("reldn_d2.evaluation.golden")
SCHEMA = json.loads(FOLDER.joinpath("schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
CASES = {case.name: case for case in golden_cases()}


def raw(name: str) -> dict[str, Any]:
    """The content of the file of a case."""
    content: dict[str, Any] = json.loads(FOLDER.joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return content


def protocol_of(case: GoldenCase) -> Any:
    (protocol,) = make_protocols([case.protocol], **case.settings)
    return protocol


def differences(case: GoldenCase, protocol: Any) -> list[str]:
    results = evaluate_graphs(case.truths, case.predictions, case.task, [protocol], case.split)
    return case.differences(results[case.protocol].metrics)


def test_the_schema_is_one_and_refuses_other_files() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    case = raw("openimages_equal_scores")
    assert VALIDATOR.is_valid(case)
    official = case["official"]
    for broken in (
        {key: value for key, value in case.items() if key != "arithmetic"},
        case | {"arithmetic": []},
        case | {"expected": {"R@50": "0.5"}},
        case | {"expected": {"R@50": 0.5}},
        case | {"official": {"tool": "a tool", "status": "read"}},
        case | {"official": {"tool": "a tool", "status": "not run", "version": "1"}},
        case | {"official": {key: value for key, value in official.items() if key != "differs"}},
        case | {"official": official | {"status": "ran: equal"}},
    ):
        assert not VALIDATOR.is_valid(broken)


@pytest.mark.parametrize("name", CASES)
def test_a_file_follows_the_schema(name: str) -> None:
    case = raw(name)
    VALIDATOR.validate(case)
    assert case["name"] == name and name.startswith(f"{case['protocol']}_")
    assert not case["expected"].keys() & set(case["absent"])
    assert set(case["official"].get("compared", [])) <= case["expected"].keys()
    assert all(0 <= Fraction(share) <= 1 for share in case["expected"].values())
    assert case["expected"] or case["absent"]


@pytest.mark.parametrize("name", CASES)
def test_the_arithmetic_arrives_at_every_number(name: str) -> None:
    text = " ".join(CASES[name].arithmetic)
    assert not {str(share) for share in CASES[name].expected.values() if str(share) not in text}


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_legal_input(name: str) -> None:
    case = CASES[name]
    protocol = protocol_of(case)
    sizes = {"num_classes": len(case.classes), "num_predicates": len(case.split.predicate_classes)}
    for image_id, predicted in case.predictions.items():
        truth = case.truths[image_id]
        check_ground_truth(truth, **sizes, where=image_id)
        prepared = prepare_prediction(predicted, truth, case.task, [protocol], **sizes, where=image_id)
        for column in ("subject", "object", "predicate"):
            # The list is ranked already; only its end may be cut.
            kept = getattr(prepared.relations, column)
            np.testing.assert_array_equal(kept, getattr(predicted.relations, column)[: len(kept)])


@pytest.mark.parametrize("name", CASES)
def test_our_evaluator_gives_the_numbers(name: str) -> None:
    assert not differences(CASES[name], protocol_of(CASES[name]))


def test_absent_numbers_are_undefined_not_just_left_out() -> None:
    """Each is there in another case. An evaluator with more metrics than ours must not fail."""
    found: dict[str, set[str]] = {name: set() for name in PROTOCOLS}
    for case in CASES.values():
        results = evaluate_graphs(case.truths, case.predictions, case.task, [protocol_of(case)], case.split)
        # AP of another predicate is the same kind of number
        found[case.protocol] |= {name.partition("/")[0] for name in results[case.protocol].metrics}
    for case in CASES.values():
        assert {name.partition("/")[0] for name in case.absent} <= found[case.protocol], case.name


def test_every_protocol_has_cases() -> None:
    counts = {name: sum(case.protocol == name for case in CASES.values()) for name in PROTOCOLS}
    assert min(counts.values()) >= 5 and len(CASES) == sum(counts.values())


def test_every_case_of_the_challenge_was_run() -> None:
    statuses = {case.official["status"] for case in CASES.values() if case.protocol == "openimages"}
    assert statuses == {"ran: equal", "ran: differs"}


def test_differences_are_named() -> None:
    case = CASES["motifs_group_without_annotation"]
    metrics = {name: float(100 * share) for name, share in case.expected.items()}
    assert not case.differences(metrics | {"mR_body@50": float("nan"), "another": 3.0})
    assert case.differences(metrics | {"mR@50": 50.001, "mR_body@50": 0.0}) == [
        "motifs_group_without_annotation: mR@50 is 50.001, expected 100 x 1/2",
        "motifs_group_without_annotation: mR_body@50 should not exist",
    ]
    assert case.differences(metrics | {"mR@50": 50.001}, tolerance=0.01) == []
    missing = {name: value for name, value in metrics.items() if name != "mR_all@20"}
    assert case.differences(missing) == [
        "motifs_group_without_annotation: mR_all@20 is missing, expected 100 x 1/3"
    ]
    assert case.differences(missing | {"mR_all@20": float("nan")}) == case.differences(missing)


# A broken rule: it may patch the evaluator, and returns the protocol that is used.
Break = Callable[[pytest.MonkeyPatch, Any], Any]


def setting(**changes: Any) -> Break:
    """A protocol with other attributes."""
    return lambda patch, protocol: replace(protocol, **changes)


def predicates_per_pair(number: int) -> Break:
    """A recall protocol whose lists all have the same limit."""

    def broken(patch: pytest.MonkeyPatch, protocol: Any) -> Any:
        lists = tuple(replace(ranked, predicates_per_pair=number) for ranked in protocol.lists)
        return replace(protocol, lists=lists)

    return broken


def patched(place: Any, name: str, value: Any) -> Break:
    """A name of a module or class with another value."""

    def broken(patch: pytest.MonkeyPatch, protocol: Any) -> Any:
        patch.setattr(place, name, value)
        return protocol

    return broken


def arithmetic_mean(a: float, b: float) -> float:
    return (a + b) / 2


def later_index_first(split: TrainingSplit) -> dict[str, np.ndarray]:
    order = np.lexsort((-np.arange(len(split.predicate_counts)), -split.predicate_counts))
    return {"head": order[:1], "body": order[1:2], "tail": order[2:]}


def without_envelope(places: np.ndarray, num_truths: int) -> float:
    precision = np.arange(1, len(places) + 1) / places
    return float(precision.sum() / num_truths) if num_truths else float("nan")


def next_best(matches: Matches, num_triplets: int, min_overlap: float, *, strict: bool) -> np.ndarray:
    """True positives that turn to the best relationship that is free."""
    positive, taken = np.zeros(num_triplets, dtype=np.bool_), set()
    for row in np.lexsort((matches.truth, -matches.overlap, matches.triplet)):
        triplet, truth = matches.triplet[row], matches.truth[row]
        if matches.overlap[row] >= min_overlap and truth not in taken and not positive[triplet]:
            positive[triplet] = True
            taken.add(truth)
    return positive


def last_annotation(matches: Matches, num_triplets: int, min_overlap: float, *, strict: bool) -> np.ndarray:
    """True positives if, of equal overlaps, the relationship that was annotated last counts."""
    flipped = Matches(matches.triplet, -matches.truth, matches.overlap)
    return true_positives(flipped, num_triplets, min_overlap, strict=strict)


def in_float32(protocol: OpenImagesProtocol, records: Sequence[JudgedTriplets]) -> Columns:
    return columns(protocol, [replace(x, score=x.score.astype(np.float32)) for x in records])


def last_first(predicate: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The order of triplets if equal scores are ordered backwards."""
    return np.lexsort((-np.arange(len(score)), -score, predicate))


def every_triplet(predicted: PredictedGraph, triplets: RankedTriplets, truth: GroundTruthGraph) -> np.ndarray:
    return np.ones(len(triplets), dtype=np.bool_)


def related_alone(predicted: PredictedGraph, triplets: RankedTriplets, truth: GroundTruthGraph) -> np.ndarray:
    """The evaluable triplets if verified classes are not known."""
    ends = predicted.classes[np.stack([triplets.subject, triplets.object])]
    return np.isin(ends, truth.classes[truth.relations[:, :2]]).all(axis=0)


def first_boxes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Enclosing boxes that forget the object."""
    return a


def larger_boxes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.add(enclosing_boxes(a, b), (0, 0, 1, 1))


def ties_are_confused(cases: confusion.ConfusableCases, answers: TripletAnswers) -> np.ndarray:
    right, confused, missed = outcomes(cases, answers).T
    return np.stack([np.floor(right), np.ceil(confused), missed], axis=1)


outcomes, columns = confusion.outcomes, OpenImagesProtocol.columns
above_half = patched(recall, "MIN_OVERLAP", np.nextafter(0.5, 1))
every_label = patched(TrainingSplit, "is_zero_shot", lambda self, truth: np.full(len(truth.relations), True))
no_envelope = patched(sorted_runs, "average_precision", without_envelope)
backwards = patched(average_precision, "run_order", last_first)
tries_next_best = patched(average_precision, "true_positives", next_best)
# Case -> broken rules that it notices.
NOTICED: dict[str, dict[str, Break]] = {
    "motifs_overlap_of_exactly_half": {"continuous boxes": setting(offset=0.0), "more than 0.5": above_half},
    "motifs_one_triplet_finds_two": {"one to one": setting(one_to_one=True)},
    "motifs_relationship_annotated_twice": {"one to one": setting(one_to_one=True)},
    "motifs_macro_and_micro": {"micro": setting(average="micro")},
    "motifs_graph_constraint": {"two predicates a pair": predicates_per_pair(2)},
    "motifs_constraint_moves_places": {"one predicate a pair": predicates_per_pair(1)},
    "motifs_zero_shot": {"every label is unseen": every_label},
    "motifs_every_label_was_seen": {"every label is unseen": every_label},
    "motifs_mean_recall": {
        "over all": patched(recall, "mean_over_annotated", metrics.mean_over_all),
        "over annotated": patched(recall, "mean_over_all", metrics.mean_over_annotated),
        "pooled": patched(PredicateRecall, "image_mean", PredicateRecall.pooled),
    },
    "motifs_head_body_tail": {"equal counts": patched(TrainingSplit, "predicate_groups", later_index_first)},
    "motifs_precision": {"one to one": setting(one_to_one=True)},
    "vrd2016_precision": {"several hits": setting(one_to_one=False)},
    "motifs_f": {"arithmetic mean": patched(recall, "harmonic_mean", arithmetic_mean)},
    "reldn_phrase_right_relation_wrong": {
        "continuous boxes": setting(offset=0.0),
        "more than 0.5": above_half,
        "no union": patched(matching, "enclosing_boxes", first_boxes),
    },
    "reldn_relation_right_phrase_wrong": {"no union": patched(matching, "enclosing_boxes", first_boxes)},
    "reldn_one_triplet_finds_two": {"one to one": setting(one_to_one=True)},
    "reldn_micro_and_macro": {"macro": setting(average="macro")},
    "reldn_k_predicates_a_pair": {"one predicate a pair": predicates_per_pair(1)},
    "reldn_prdcls_annotated_pairs_only": {"all pairs": setting(ranks_annotated_pairs=False)},
    "vrd2016_a_triplet_finds_one": {"several hits": setting(one_to_one=False)},
    "vrd2016_greedy": {"several hits": setting(one_to_one=False)},
    "vrd2016_relationship_annotated_twice": {"several hits": setting(one_to_one=False)},
    "vrd2016_every_predicate_of_a_pair": {"graph constraint": predicates_per_pair(1)},
    "vrd2016_overlap_of_exactly_half": {"continuous boxes": setting(offset=0.0), "more than 0.5": above_half},
    "vrd2016_micro_and_macro": {"macro": setting(average="macro")},
    "openimages_overlap_of_exactly_half": {
        "whole pixels": patched(OpenImagesProtocol, "offset", 1.0),
        "more than 0.5": patched(OpenImagesProtocol, "strict", True),
    },
    "openimages_second_best_is_not_tried": {"next best": tries_next_best},
    "openimages_relationship_annotated_twice": {"next best": tries_next_best},
    "openimages_equal_overlaps": {
        "last annotation": patched(average_precision, "true_positives", last_annotation)
    },
    "openimages_verified_classes": {
        "every triplet": patched(openimages, "is_evaluable", every_triplet),
        "no verified classes": patched(openimages, "is_evaluable", related_alone),
    },
    "openimages_ignored_triplets_have_no_place": {
        "every triplet": patched(openimages, "is_evaluable", every_triplet)
    },
    "openimages_image_without_relationships": {
        "every triplet": patched(openimages, "is_evaluable", every_triplet),
        "no verified classes": patched(openimages, "is_evaluable", related_alone),
    },
    "openimages_without_is": {"every triplet": patched(openimages, "is_evaluable", every_triplet)},
    "openimages_envelope": {"no envelope": no_envelope},
    "openimages_equal_scores": {"backwards": backwards},
    "openimages_scores_equal_in_float32": {"float32": patched(OpenImagesProtocol, "columns", in_float32)},
    "openimages_predicates_and_scores": {
        "all predicates": patched(OpenImagesProtocol, "absent_is_zero", True),
        "another predicate is excluded": setting(excluded_predicates=("behind",)),
        "nothing is excluded": setting(excluded_predicates=()),
    },
    "openimages_list_of_100": {"a longer list": setting(list_length=101)},
    "openimages_two_predicates_a_pair": {"three predicates a pair": setting(predicates_per_pair=3)},
    "reldn_openimages_overlap_of_exactly_half": {
        "continuous boxes": patched(OpenImagesAblationProtocol, "offset", 0.0),
        "at least 0.5 in average precision": patched(OpenImagesAblationProtocol, "strict", False),
        "more than 0.5 in recall": patched(openimages, "MIN_OVERLAP", np.nextafter(0.5, 1)),
    },
    "reldn_openimages_phrase_of_exactly_half": {
        "at least 0.5": patched(OpenImagesAblationProtocol, "strict", False)
    },
    "reldn_openimages_score_limit": {
        "no limit": patched(openimages, "_MIN_SCORE", 0.0),
        "a score at the limit counts": patched(openimages, "_MIN_SCORE", np.nextafter(1e-5, 0)),
    },
    "reldn_openimages_second_best_is_not_tried": {"next best": tries_next_best},
    "reldn_openimages_predicates_and_scores": {
        "annotated predicates": patched(OpenImagesAblationProtocol, "absent_is_zero", False)
    },
    "reldn_openimages_list_of_100": {"a longer list": setting(list_length=101)},
    "reldn_openimages_two_predicates_a_pair": {"one predicate a pair": setting(predicates_per_pair=1)},
    "reldn_openimages_envelope": {"no envelope": no_envelope},
    "reldn_openimages_equal_scores": {"backwards": backwards},
    "confusion_instance_outcomes": {"ties": patched(confusion, "outcomes", ties_are_confused)},
    "confusion_missed": {"missed is confused": patched(confusion, "_MISSED", (0.0, 1.0, 0.0))},
    "confusion_glass_annotated_twice": {"IoU of 0.3": patched(confusion, "SAME_ENTITY_IOU", 0.3)},
    "confusion_boxes_that_touch": {"touching": patched(confusion, "enclosing_boxes", larger_boxes)},
}


@pytest.mark.parametrize(
    ("name", "rule"), [pytest.param(name, rule) for name, rules in NOTICED.items() for rule in rules]
)
def test_a_broken_rule_is_noticed(name: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    assert differences(case, NOTICED[name][rule](monkeypatch, protocol_of(case)))
