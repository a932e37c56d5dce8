"""Saving and loading: safe and atomic files, vocabularies, and refusal of what does not fit."""

from .checkpointer import RelationCheckpointer
from .file_formats import read_checkpoint
from .vocabulary import Vocabulary
from .weight_source import WeightSource

__all__ = ["RelationCheckpointer", "Vocabulary", "WeightSource", "read_checkpoint"]
