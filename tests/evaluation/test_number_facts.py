"""What every number of every protocol says about itself, compared with facts counted by hand."""

import csv
import math
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from reldn_d2.evaluation import (
    PROTOCOLS,
    EvaluatedSplit,
    NumberFacts,
    PairAnswers,
    PredictedGraph,
    ProtocolResult,
    TripletAnswers,
    confusion_triplets,
    evaluate_graphs,
    reldn,
    training_split,
)
from reldn_d2.evaluation.io.results import (
    PREDICATES_FILE,
    RESULTS_FILE,
    read_results,
    save_results,
    short_table,
)
from reldn_d2.evaluation.protocols.openimages import OpenImagesProtocol
from reldn_d2.evaluation.protocols.recall import ALL_PREDICATES
from tests.builders.evaluation_scenes import NAMES, predicted_graph, truth_graph

A, B, C = (0, 0, 9, 9), (20, 0, 29, 9), (20, 20, 29, 29)
# "on" has 3 relationships in 2 images, "has" 1, "near" none; one image has no relationship.
TRUTHS = {
    "1": truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 1)]),
    "2": truth_graph([A, B, C], [0, 1, 1], [(0, 1, 0), (1, 0, 0)]),
    "3": truth_graph([A], [0], []),
}
# In training "near" is the most frequent predicate and "on" the second one; (1, on, 0) and "has" are unseen.
TRAINING = training_split([truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 2), (0, 1, 2)])], 2, 3)
SPLIT = EvaluatedSplit(NAMES, TRAINING)
GRAPH = "graph constraint"


def prediction(image: str) -> PredictedGraph:
    truth = TRUTHS[image]
    asked = confusion_triplets(truth)
    named = TripletAnswers(*asked.T, np.zeros(len(asked), np.float32), np.ones(len(asked), dtype=np.bool_))
    pairs = truth.relations[:, :2]
    probs = np.tile(np.array([[0.5, 0.3, 0.2]], dtype=np.float32), (len(pairs), 1))
    answers = PairAnswers(*pairs.T.astype(np.int32), np.ones(len(pairs), dtype=np.float32), probs)
    rows = [(0, 1, 1, 0.9, 1), (0, 1, 0, 0.8, 2)] if len(truth.boxes) > 1 else []
    graph = predicted_graph(truth.boxes, truth.classes, rows)
    return PredictedGraph(graph.boxes, graph.classes, graph.scores, graph.relations, answers, named)


PREDICTIONS = {image: prediction(image) for image in TRUTHS}


def evaluate(protocol: object, task: str = "sgdet") -> ProtocolResult:
    (result,) = evaluate_graphs(TRUTHS, PREDICTIONS, task, [protocol], SPLIT).values()
    return result


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_number_has_its_facts_and_is_defined(name: str) -> None:
    result = evaluate(name)
    assert result.metrics.keys() == result.facts.keys()
    assert all(math.isfinite(value) for value in result.metrics.values())
    assert {(x.protocol, x.task) for x in result.facts.values()} == {(name, "sgdet")}
    for metric, facts in result.facts.items():
        assert f"@{facts.k}" in metric or "@" not in metric
        assert 0 < facts.images <= 3 and 0 <= facts.relationships <= 4
    counts = {"annotated", "in training", "instance cases", "proximity cases"}
    assert result.per_predicate.keys() - result.column_facts.keys() <= counts


def test_recalls_say_list_average_and_size() -> None:
    facts = evaluate("motifs").facts
    expected = {
        "R@50": (GRAPH, 50, "macro", None, 2, 4),
        "micro_R@20": (GRAPH, 20, "micro", None, 2, 4),
        "ngR@100": ("no constraint", 100, "macro", None, 2, 4),
        "zR@50": (GRAPH, 50, "macro", None, 2, 2),
        "mR_all@50": (GRAPH, 50, "macro, then mean over all predicates", 3, 2, 4),
        "ngmR@50": ("no constraint", 50, "macro, then mean over annotated predicates", 2, 2, 4),
        "pooled_mR_body@50": (GRAPH, 50, "micro, then mean over annotated body predicates", 1, 2, 3),
        "mR_tail@50": (GRAPH, 50, "macro, then mean over annotated tail predicates", 1, 1, 1),
        "F@50": (GRAPH, 50, "harmonic mean of R@K and mR_all@K", None, 2, 4),
        "ngP@20": ("no constraint", 20, "macro (equal to micro)", None, 2, 4),
    }
    for metric, values in expected.items():
        assert facts[metric] == NumberFacts("motifs", "sgdet", "all", *values), metric
    assert "mR_head@50" not in facts  # "near" is not annotated


def test_lists_of_annotated_pairs_say_so() -> None:
    for task, pairs in (("sgdet", "all"), ("prdcls", "annotated")):
        facts = evaluate(reldn((1, 2)), task).facts
        assert {(x.task, x.pairs) for x in facts.values()} == {(task, pairs)}
        assert facts["rel_k2_R@50"].constraint == facts["phr_k2_P@50"].constraint == "2 predicates a pair"
        assert facts["rel_k1_R@50"].constraint == GRAPH


def test_average_precisions_say_which_predicates_count() -> None:
    """The image without a relationship counts, since its triplets are wrong."""
    facts = evaluate("openimages").facts
    two = ("openimages", "sgdet", "all", "2 predicates a pair", 100)
    assert facts["mAP_rel"] == NumberFacts(*two, "mean over annotated predicates", 2, 3, 4)
    assert facts["AP_phr/on"] == NumberFacts(*two, "area under the curve", None, 3, 3)
    assert facts["score"].average == "0.2 R@50 + 0.4 mAP_rel + 0.4 mAP_phr"
    assert facts["R@50"] == NumberFacts(*two[:4], 50, "micro", None, 2, 4)
    facts = evaluate("reldn_openimages").facts
    assert (facts["mAP_rel"].average, facts["mAP_rel"].predicates) == ("mean over all predicates", 3)
    without_limits = OpenImagesProtocol(("on",), ALL_PREDICATES, ALL_PREDICATES)
    starred = evaluate(without_limits).facts["wmAP_rel_starred"]
    assert (starred.constraint, starred.k) == ("no constraint", None)
    assert (starred.predicates, starred.relationships) == (1, 1)


def lines_of(result: ProtocolResult) -> tuple[str, list[str]]:
    """The line that says what all numbers of a table have in common, and the list below it."""
    (intro,) = [line for line in short_table(result).splitlines() if line.startswith("Protocol ")]
    (rest,) = [part for part in short_table(result).split("\n\n") if part.startswith("* ")]
    return intro, rest.splitlines()


def test_the_lines_below_a_table_name_all_that_is_shown() -> None:
    intro, lines = lines_of(evaluate("motifs"))
    assert intro == "Protocol motifs, task sgdet, all pairs, 4 relationships in 2 images:"
    assert lines[0] == "* R@K (graph constraint), ngR@K (no constraint): macro"
    for line in (
        "zR@K (graph constraint), ngzR@K (no constraint): macro, 2 relationships in 2 images",
        "mR_tail@K (graph constraint), ngmR_tail@K (no constraint): macro, then mean over annotated tail "
        "predicates, 1 predicate, 1 relationship in 1 image",
        "mR_all@K (graph constraint), ngmR_all@K (no constraint): macro, then mean over all predicates, "
        "3 predicates",
        "F@K (graph constraint): harmonic mean of R@K and mR_all@K",
    ):
        assert f"* {line}" in lines
    assert lines[-1] == "* P@K (graph constraint), ngP@K (no constraint): macro (equal to micro)"


def test_what_all_numbers_have_in_common_is_said_once() -> None:
    intro, lines = lines_of(evaluate(reldn(), "sgcls"))
    assert intro == "Protocol reldn, task sgcls, annotated pairs, 4 relationships in 2 images:"
    assert lines[0] == "* rel_k_R@K, phr_k_R@K (k predicates a pair): micro"
    assert lines[1].startswith("* rel_k_zR@K, phr_k_zR@K (k predicates a pair): ")
    intro, lines = lines_of(evaluate("openimages"))
    assert "2 predicates a pair" in intro and "2 predicates a pair" not in "".join(lines)
    assert (
        "* mAP_rel, mAP_phr: mean over annotated predicates, 2 predicates, first 100 triplets of an image, "
        "4 relationships in 3 images"
    ) in lines
    intro, _ = lines_of(evaluate("confusion"))
    assert intro == "Protocol confusion, task sgdet, 2 relationships in 1 image:"


def read(path: Path) -> list[Mapping[str, str]]:
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def test_files_carry_the_facts_and_are_read_back(tmp_path: Path) -> None:
    results = {"motifs": evaluate("motifs"), "reldn_openimages": evaluate("reldn_openimages")}
    save_results(tmp_path, results, dataset_name="toy", task="sgdet", predicate_classes=NAMES)
    assert read_results(tmp_path / RESULTS_FILE) == {name: x.metrics for name, x in results.items()}
    for row in read(tmp_path / RESULTS_FILE):
        facts = results[row["protocol"]].facts[row["metric"]]
        written = [row["protocol"], *[*row.values()][3:]]
        assert written == ["" if x is None else str(x) for x in astuple(facts)]
    columns = {(row["protocol"], row["column"]): row for row in read(tmp_path / PREDICATES_FILE)}
    assert columns["motifs", "pooled_ngR@20"]["constraint"] == "no constraint"
    assert columns["motifs", "R@50"]["average"] == "macro" and columns["motifs", "annotated"]["k"] == ""


def test_f_is_zero_where_nothing_is_found() -> None:
    nothing = dict.fromkeys(TRUTHS, PredictedGraph.empty())
    metrics = evaluate_graphs(TRUTHS, nothing, "sgdet", ["motifs"], SPLIT)["motifs"].metrics
    assert metrics["R@50"] == metrics["mR_all@50"] == metrics["F@50"] == metrics["P@50"] == 0.0


def test_precision_and_f_by_hand() -> None:
    """Without constraint image 1 finds both of its relationships, and image 2 one of two."""
    result = evaluate("motifs")
    assert "Annotation is sparse: a true triplet that nobody annotated counts as wrong." in result.notes[-1]
    metrics = result.metrics
    # 2 + 1 correct triplets among 2 + 2, in lists that have room for 20.
    assert metrics["ngP@20"] == pytest.approx(100 * 3 / 40)
    assert metrics["ngP@100"] == pytest.approx(100 * 3 / 200)
    # With the constraint: "has" in image 1.
    assert metrics["P@50"] == pytest.approx(100 * 1 / 100)
    # R: (1 + 1/2) / 2; mR_all: (on (1 + 1/2) / 2, has 1, near 0) / 3.
    recall, mean_recall = 75.0, 100 * (0.75 + 1 + 0) / 3
    assert metrics["ngF@50"] == pytest.approx(2 / (1 / recall + 1 / mean_recall))


def test_precision_counts_triplets_as_recall_matches_them() -> None:
    """Two triplets on the same relationship are both correct where several hits are allowed."""
    truths = {"1": truth_graph([A, B], [0, 1], [(0, 1, 0)])}
    twice = {"1": predicted_graph([A, A, B], [0, 0, 1], [(0, 2, 0, 0.9, 1), (1, 2, 0, 0.8, 1)])}
    protocols = ["motifs", "vrd2016", "openimages", "reldn_openimages"]
    results = evaluate_graphs(truths, twice, "sgdet", protocols, EvaluatedSplit(NAMES))
    assert {name: x.metrics["P@50"] for name, x in results.items()} == {
        "motifs": 4.0,
        "vrd2016": 2.0,
        "openimages": 2.0,
        "reldn_openimages": 4.0,
    }


def test_a_number_that_is_undefined_is_absent() -> None:
    facts = NumberFacts("mine", None, "", "", None, "micro", None, 0, 0)
    result = ProtocolResult({}, {})
    result.add("R@50", math.nan, facts)
    result.add("P@50", 0.0, facts)
    assert result.metrics == {"P@50": 0.0} and result.facts == {"P@50": facts}
