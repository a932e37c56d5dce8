"""Configs, training, evaluation and prediction, for `train_net.py` and the tools."""

from .datasets import vocabulary_of
from .detections import cache_detections, detector_identity
from .evaluate import (
    check_classes,
    evaluate,
    kind_of_config,
    load_config,
    load_model,
    parts_of,
    set_predicate_statistics,
)
from .parts import RunParts
from .predictor import RelationPredictor
from .setup import import_data_sets, setup, setup_console, start_run
from .trainer import Trainer

__all__ = [
    "RelationPredictor",
    "RunParts",
    "Trainer",
    "cache_detections",
    "check_classes",
    "detector_identity",
    "evaluate",
    "import_data_sets",
    "kind_of_config",
    "load_config",
    "load_model",
    "parts_of",
    "set_predicate_statistics",
    "setup",
    "setup_console",
    "start_run",
    "vocabulary_of",
]
