"""Metrics of predicted scene graphs: pure functions on arrays, named protocols, a Detectron2 evaluator."""

from reldn_d2.utils.image_labels import read_image_labels

from .bootstrap import Difference, paired_bootstrap
from .evaluator import RelationEvaluator
from .graphs import AnnotatedPairs, GroundTruthGraph, NamedTriplets, PredictedGraph, RankedTriplets
from .io.image_labels import with_verified_classes
from .io.predictions import SavedPredictions, load_predictions, save_predictions
from .io.results import load_per_image
from .io.submission import image_sizes, read_submission, submission_labels, write_submission
from .metrics import PerImageRecall
from .protocols.confusion import ConfusionProtocol, confusion_frequency, named_triplets
from .protocols.openimages import openimages, reldn_openimages
from .protocols.protocol import EvaluatedSplit, EvaluationProtocol, ProtocolResult, ScoredImage
from .protocols.recall import ALL_PREDICATES, motifs, reldn, vrd2016
from .ranking import rank_triplets
from .scorer import DatasetScorer
from .scoring import PROTOCOLS, evaluate_graphs, make_protocols
from .training_split import TrainingSplit, UnseenTriplets, training_split, unseen_triplets

__all__ = [
    "ALL_PREDICATES",
    "PROTOCOLS",
    "AnnotatedPairs",
    "ConfusionProtocol",
    "DatasetScorer",
    "Difference",
    "EvaluatedSplit",
    "EvaluationProtocol",
    "GroundTruthGraph",
    "NamedTriplets",
    "PerImageRecall",
    "PredictedGraph",
    "ProtocolResult",
    "RankedTriplets",
    "RelationEvaluator",
    "SavedPredictions",
    "ScoredImage",
    "TrainingSplit",
    "UnseenTriplets",
    "confusion_frequency",
    "evaluate_graphs",
    "image_sizes",
    "load_per_image",
    "load_predictions",
    "make_protocols",
    "motifs",
    "named_triplets",
    "openimages",
    "paired_bootstrap",
    "rank_triplets",
    "read_image_labels",
    "read_submission",
    "reldn",
    "reldn_openimages",
    "save_predictions",
    "submission_labels",
    "training_split",
    "unseen_triplets",
    "vrd2016",
    "with_verified_classes",
    "write_submission",
]
