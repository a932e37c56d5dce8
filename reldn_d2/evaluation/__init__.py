"""Metrics of predicted scene graphs: pure functions on arrays, named protocols, a Detectron2 evaluator."""

from .bootstrap import Difference, paired_bootstrap
from .confusion import ConfusionProtocol
from .dataset_scorer import DatasetScorer
from .evaluator import RelationEvaluator
from .graphs import AnnotatedPairs, GroundTruthGraph, NamedTriplets, PredictedGraph, RankedTriplets
from .openimages import reldn_openimages
from .per_image_file import load_per_image
from .prediction_file import load_predictions, save_predictions
from .protocol import EvaluatedSplit, EvaluationProtocol, ProtocolResult, ScoredImage
from .ranking import rank_triplets
from .recall import PerImageRecall
from .recall_protocol import motifs, reldn, vrd2016
from .scoring import PROTOCOLS, evaluate_graphs
from .training_split import TrainingSplit, training_split

__all__ = [
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
    "ScoredImage",
    "TrainingSplit",
    "evaluate_graphs",
    "load_per_image",
    "load_predictions",
    "motifs",
    "paired_bootstrap",
    "rank_triplets",
    "reldn",
    "reldn_openimages",
    "save_predictions",
    "training_split",
    "vrd2016",
]
