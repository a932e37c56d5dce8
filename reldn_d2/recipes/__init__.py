"""Recipes: trainings of both stages in one call."""

from .small import STAGES, SmallResult, train_small
from .start import SCRATCH

__all__ = ["SCRATCH", "STAGES", "SmallResult", "train_small"]
