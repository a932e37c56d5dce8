"""Configs, training, evaluation and prediction: what train_net.py and the tools share."""

from .detections import cache_detections, detector_identity
from .evaluate import evaluate, load_model
from .predictor import RelationPredictor
from .setup import (
    check_classes,
    import_data_sets,
    load_config,
    set_predicate_statistics,
    setup,
    setup_console,
    vocabulary_of,
)
from .trainer import Trainer

__all__ = [
    "RelationPredictor",
    "Trainer",
    "cache_detections",
    "check_classes",
    "detector_identity",
    "evaluate",
    "import_data_sets",
    "load_config",
    "load_model",
    "set_predicate_statistics",
    "setup",
    "setup_console",
    "vocabulary_of",
]
