"""Prediction: photos and boxes of all kinds in, entities and relationships out."""

from .given_boxes import GivenBoxes
from .pictures import ImageLike
from .predictor import Outcome, RelationPredictor, Request
from .result import Entity, Prediction, Relationship

__all__ = [
    "Entity",
    "GivenBoxes",
    "ImageLike",
    "Outcome",
    "Prediction",
    "RelationPredictor",
    "Relationship",
    "Request",
]
