"""Models that are saved in a folder, shared, and loaded by name."""

from .find import find_pretrained, weights_in
from .folder import PretrainedFolder, is_saved_model
from .hub import is_hub_id
from .info import EvaluationInfo, ModelInfo, TrainingInfo
from .model import PretrainedModel, usual_device

__all__ = [
    "EvaluationInfo",
    "ModelInfo",
    "PretrainedFolder",
    "PretrainedModel",
    "TrainingInfo",
    "find_pretrained",
    "is_hub_id",
    "is_saved_model",
    "usual_device",
    "weights_in",
]
