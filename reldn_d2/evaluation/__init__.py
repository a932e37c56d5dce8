"""Metrics of predicted scene graphs: named protocols, functions on arrays, and a Detectron2 evaluator."""

import warnings
from typing import Any

from reldn_d2.utils.image_labels import read_image_labels

from .bootstrap import Difference, Estimate, image_bootstrap, paired_bootstrap
from .evaluator import RelationEvaluator
from .golden import GoldenCase, golden_cases
from .graph_metrics import GraphMetrics
from .graphs import GroundTruthGraph, PairAnswers, PredictedGraph, RankedTriplets, TripletAnswers
from .ground_truth import with_verified_classes
from .io.annotations import AnnotatedSet, SavedAnnotations, load_annotations, save_annotations
from .io.predictions import SavedPredictions, load_predictions, save_predictions
from .io.results import load_per_image
from .io.shard_writers import AnnotationShardWriter, PredictionShardWriter
from .io.submission import (
    Submission,
    image_sizes,
    load_submission,
    read_submission,
    submission_labels,
    write_submission,
)
from .io.triplet_lists import TripletList, read_triplet_list
from .metrics import PerImageRecall
from .protocols.confusion import ConfusionProtocol, confusion_frequency, confusion_triplets
from .protocols.openimages import openimages, reldn_openimages
from .protocols.protocol import (
    EvaluatedSplit,
    EvaluationProtocol,
    NumberFacts,
    ProtocolResult,
    ScoredImage,
)
from .protocols.recall import ALL_PREDICATES, motifs, reldn, vrd2016
from .protocols.registry import PROTOCOLS, make_protocols
from .ranking import rank_triplets
from .scorer import DatasetScorer, evaluate_graphs
from .seeds import compare_seeds, seed_interval
from .streaming import evaluate_folders
from .training_split import TrainingSplit, UnseenTriplets, training_split, unseen_triplets
from .triplet_graphs import graph_from_entities, graph_from_triplets

__all__ = [
    "ALL_PREDICATES",
    "PROTOCOLS",
    "AnnotatedSet",
    "AnnotationShardWriter",
    "ConfusionProtocol",
    "DatasetScorer",
    "Difference",
    "Estimate",
    "EvaluatedSplit",
    "EvaluationProtocol",
    "GoldenCase",
    "GraphMetrics",
    "GroundTruthGraph",
    "NumberFacts",
    "PairAnswers",
    "PerImageRecall",
    "PredictedGraph",
    "PredictionShardWriter",
    "ProtocolResult",
    "RankedTriplets",
    "RelationEvaluator",
    "SavedAnnotations",
    "SavedPredictions",
    "ScoredImage",
    "Submission",
    "TrainingSplit",
    "TripletAnswers",
    "TripletList",
    "UnseenTriplets",
    "compare_seeds",
    "confusion_frequency",
    "confusion_triplets",
    "evaluate_folders",
    "evaluate_graphs",
    "golden_cases",
    "graph_from_entities",
    "graph_from_triplets",
    "image_bootstrap",
    "image_sizes",
    "load_annotations",
    "load_per_image",
    "load_predictions",
    "load_submission",
    "make_protocols",
    "motifs",
    "openimages",
    "paired_bootstrap",
    "rank_triplets",
    "read_image_labels",
    "read_submission",
    "read_triplet_list",
    "reldn",
    "reldn_openimages",
    "save_annotations",
    "save_predictions",
    "seed_interval",
    "submission_labels",
    "training_split",
    "unseen_triplets",
    "vrd2016",
    "with_verified_classes",
    "write_submission",
]

# Names of earlier releases -> names today.
_OLD_NAMES = {
    "AnnotatedPairs": "PairAnswers",
    "NamedTriplets": "TripletAnswers",
    "named_triplets": "confusion_triplets",
}


def __getattr__(name: str) -> Any:
    if name not in _OLD_NAMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    today = _OLD_NAMES[name]
    warnings.warn(f"{__name__}.{name} is now called {today}: use that name", DeprecationWarning, stacklevel=2)
    return globals()[today]
