"""Saves and loads weights: safe and atomic files, vocabularies, and errors for weights that do not fit."""

from reldn_d2.structures.vocabulary import Vocabulary

from .checkpointer import RelationCheckpointer
from .formats import read_checkpoint
from .safe_files import last_checkpoint_in
from .weight_source import WeightSource

__all__ = ["RelationCheckpointer", "Vocabulary", "WeightSource", "last_checkpoint_in", "read_checkpoint"]
