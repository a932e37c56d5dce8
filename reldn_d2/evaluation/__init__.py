"""Metrics of predicted scene graphs: pure functions on arrays, named protocols, a Detectron2 evaluator."""

from .bootstrap import Difference, paired_bootstrap
from .evaluator import RelationEvaluator
from .graphs import AnnotatedPairs, GroundTruthGraph, PredictedGraph, RankedTriplets
from .openimages import reldn_openimages
from .per_image_file import load_per_image
from .prediction_file import load_predictions
from .protocols import EvaluationProtocol, motifs, reldn
from .recall import PerImageRecall
from .scoring import PROTOCOLS, evaluate_graphs

__all__ = [
    "PROTOCOLS",
    "AnnotatedPairs",
    "Difference",
    "EvaluationProtocol",
    "GroundTruthGraph",
    "PerImageRecall",
    "PredictedGraph",
    "RankedTriplets",
    "RelationEvaluator",
    "evaluate_graphs",
    "load_per_image",
    "load_predictions",
    "motifs",
    "paired_bootstrap",
    "reldn",
    "reldn_openimages",
]
