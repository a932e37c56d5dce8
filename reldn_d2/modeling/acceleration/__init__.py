"""Faster ways to the same numbers, put into a built model, and the precision that it computes in."""

from .accelerate import accelerate, as_built, original_class
from .pooler import RegionPooler, pool_regions
from .precision import PRECISIONS, Precision, autocast, check_precision, has_bf16_instructions

__all__ = [
    "PRECISIONS",
    "Precision",
    "RegionPooler",
    "accelerate",
    "as_built",
    "autocast",
    "check_precision",
    "has_bf16_instructions",
    "original_class",
    "pool_regions",
]
