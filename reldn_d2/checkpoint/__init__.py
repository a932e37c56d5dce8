"""Saving and loading: atomic files, vocabularies, and refusal of what does not fit."""

from .checkpointer import RelationCheckpointer, Vocabulary

__all__ = ["RelationCheckpointer", "Vocabulary"]
