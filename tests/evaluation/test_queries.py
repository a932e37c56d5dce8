"""The queries of protocols, and how protocols find their answers."""

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given

import reldn_d2.evaluation as evaluation
from reldn_d2.evaluation import (
    PROTOCOLS,
    EvaluatedSplit,
    GroundTruthGraph,
    PairAnswers,
    PredictedGraph,
    ProtocolResult,
    RelationEvaluator,
    ScoredImage,
    confusion_triplets,
    motifs,
    reldn,
)
from reldn_d2.evaluation.checks import prepare_prediction
from reldn_d2.evaluation.graphs import TASKS, Task
from reldn_d2.structures import Queries
from tests.builders.evaluation_scenes import Scene, predicted_graph, scenes, truth_graph
from tests.builders.registered_scenes import RECORDS, register

A, B, C = (0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9)
TRUTH = truth_graph([A, B, C], [0, 1, 1], [(0, 1, 0), (0, 1, 0), (0, 0, 2), (2, 1, 1)])
NAME = "queries_test"


@pytest.fixture
def data_set() -> Iterator[str]:
    register(NAME, RECORDS)
    yield NAME
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@dataclass(frozen=True)
class AsksReversedPairs:
    """A protocol that ranks nothing and asks about the reverse of the annotated pairs."""

    name: ClassVar[str] = "reversed"
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    list_length: ClassVar[int] = 100

    def check_vocabulary(self, predicate_classes: Sequence[str]) -> None: ...

    def queries(self, truth: GroundTruthGraph, task: Task) -> Queries:
        return Queries.from_rows(pairs=truth.relations[::-1, 1::-1])

    def match(self, image: ScoredImage, task: Task) -> None: ...

    def summarise(
        self, image_ids: Sequence[str], records: Sequence[None], split: EvaluatedSplit
    ) -> ProtocolResult:
        return ProtocolResult({}, {})


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_what_each_protocol_asks(name: str, task: Task) -> None:
    protocol = PROTOCOLS[name]()
    queries = protocol.queries(TRUTH, task)
    pairs = [[0, 1], [0, 1], [0, 0], [2, 1]] if name == "reldn" and task != "sgdet" else []
    triplets = confusion_triplets(TRUTH).tolist() if name == "confusion" else []
    assert queries.pairs.tolist() == pairs and queries.triplets.tolist() == triplets
    assert queries.pairs.dtype == queries.triplets.dtype == torch.int64
    assert not protocol.queries(truth_graph([A, B], [0, 1], []), task)


def answers_to(pairs: torch.Tensor, seed: int = 0) -> PairAnswers:
    rng = np.random.default_rng(seed)
    return PairAnswers(*pairs.numpy().T, rng.random(len(pairs)), rng.random((len(pairs), 3)))


@given(scenes())
def test_a_protocol_finds_its_answers_among_those_of_others(scene: Scene) -> None:
    places = []
    for protocols in ([reldn()], [reldn(), AsksReversedPairs()], [AsksReversedPairs(), reldn()]):
        queries = Queries.union([protocol.queries(scene.truth, "prdcls") for protocol in protocols])
        subject, object = queries.pairs.numpy().T
        score = (3 * subject + object + 1) / 16  # a function of the pair
        answers = PairAnswers(subject, object, score, np.tile([0.5, 0.25, 0.125], (len(score), 1)))
        predicted = predicted_graph(scene.truth.boxes, scene.truth.classes, [], answers)
        places.append(reldn().match(ScoredImage("1", scene.truth, predicted), "prdcls").places.tolist())
    assert places[0] == places[1] == places[2]


def test_other_questions_change_no_number() -> None:
    asked = reldn().queries(TRUTH, "prdcls")
    alone = answers_to(asked.pairs)
    both = Queries.union([asked, AsksReversedPairs().queries(TRUTH, "prdcls")])
    assert both.pairs[: len(asked.pairs)].tolist() == asked.pairs.tolist() and len(both.pairs) > len(
        asked.pairs
    )
    more = answers_to(both.pairs, seed=1)
    for name in ("score", "predicate_probs"):
        getattr(more, name)[: len(asked.pairs)] = getattr(alone, name)
    places = []
    for answers, protocols in ((alone, [reldn()]), (more, [reldn(), AsksReversedPairs()])):
        predicted = predicted_graph([A, B, C], [0, 1, 1], [], answers)
        prepared = prepare_prediction(
            predicted, TRUTH, "prdcls", protocols, num_classes=2, num_predicates=3, where="image 1"
        )
        places.append(reldn().match(ScoredImage("1", TRUTH, prepared), "prdcls").places)
    np.testing.assert_array_equal(*places)


def test_answers_must_repeat_all_questions() -> None:
    asked = reldn().queries(TRUTH, "prdcls")
    predicted = predicted_graph([A, B, C], [0, 1, 1], [], answers_to(asked.pairs))
    with pytest.raises(ValueError, match=r"^image 1: 'pair_answers' must repeat row by row the 6 rows"):
        prepare_prediction(
            predicted,
            TRUTH,
            "prdcls",
            [reldn(), AsksReversedPairs()],
            num_classes=2,
            num_predicates=3,
            where="image 1",
        )


def test_the_evaluator_says_what_it_asks_about_each_image(data_set: str) -> None:
    evaluator = RelationEvaluator(data_set, "prdcls", ("motifs", "reldn", "confusion"))
    queries = evaluator.queries
    assert queries is evaluator.queries
    for image_id, truth in evaluator._scorer.truths.items():
        if not len(truth.relations):
            assert image_id not in queries
            continue
        assert queries[image_id].pairs.tolist() == truth.relations[:, :2].tolist()
        assert queries[image_id].triplets.tolist() == confusion_triplets(truth).tolist()
    assert RelationEvaluator(data_set, "prdcls", ("motifs",)).queries == {}
    assert RelationEvaluator(data_set, "sgdet", ("reldn",)).queries == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("AnnotatedPairs", "PairAnswers"),
        ("NamedTriplets", "TripletAnswers"),
        ("named_triplets", "confusion_triplets"),
    ],
)
def test_old_names_still_work_with_a_warning(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{old} is now called {new}"):
        assert getattr(evaluation, old) is getattr(evaluation, new)
    with pytest.raises(AttributeError, match="no_such_name"):
        _: Any = evaluation.no_such_name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dataclasses.is_dataclass(evaluation.PairAnswers)


def test_without_answers_nothing_is_found() -> None:
    image = ScoredImage("1", TRUTH, PredictedGraph.empty())
    assert (reldn().match(image, "prdcls").places == 100).all()
    assert (motifs().match(image, "prdcls").places == 100).all()
