"""Faster ways to the same numbers, put into a built model."""

from .accelerate import accelerate
from .pooler import RegionPooler

__all__ = ["RegionPooler", "accelerate"]
