"""Faster ways to the same numbers, put into a built model."""

from .accelerate import accelerate
from .pooler import RegionPooler, pool_regions

__all__ = ["RegionPooler", "accelerate", "pool_regions"]
