"""Configs, training, evaluation and prediction, for `reldn` and `train_net.py`."""

from .console import setup_console
from .datasets import check_registered, vocabulary_of
from .detections import cache_detections, check_is_detector, detector_identity
from .evaluate import (
    check_classes,
    evaluate,
    kind_of_config,
    load_config,
    load_model,
    override_config,
    parts_of,
    set_predicate_statistics,
)
from .optimizer import relation_optimizer_params
from .own_data import fit_to_data, load_config_for_data
from .parts import RunParts
from .prediction import Entity, GivenBoxes, Outcome, Prediction, RelationPredictor, Relationship, Request
from .pretrained import (
    EvaluationInfo,
    ModelInfo,
    PretrainedFolder,
    PretrainedModel,
    TrainingInfo,
    find_pretrained,
)
from .relation_training import RelationTraining, prepare_relation_training
from .setup import check_num_gpus, set_up_process, set_up_run, setup
from .trainer import Trainer
from .user_modules import import_data_sets

__all__ = [
    "Entity",
    "EvaluationInfo",
    "GivenBoxes",
    "ModelInfo",
    "Outcome",
    "Prediction",
    "PretrainedFolder",
    "PretrainedModel",
    "RelationPredictor",
    "RelationTraining",
    "Relationship",
    "Request",
    "RunParts",
    "Trainer",
    "TrainingInfo",
    "cache_detections",
    "check_classes",
    "check_is_detector",
    "check_num_gpus",
    "check_registered",
    "detector_identity",
    "evaluate",
    "find_pretrained",
    "fit_to_data",
    "import_data_sets",
    "kind_of_config",
    "load_config",
    "load_config_for_data",
    "load_model",
    "override_config",
    "parts_of",
    "prepare_relation_training",
    "relation_optimizer_params",
    "set_predicate_statistics",
    "set_up_process",
    "set_up_run",
    "setup",
    "setup_console",
    "vocabulary_of",
]
