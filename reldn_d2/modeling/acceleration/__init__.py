"""Faster ways to the same numbers, put into a built model, and the precision that it computes in."""

from .accelerate import accelerate
from .pooler import RegionPooler
from .precision import PRECISIONS, Precision, autocast, check_precision, has_bf16_instructions

__all__ = [
    "PRECISIONS",
    "Precision",
    "RegionPooler",
    "accelerate",
    "autocast",
    "check_precision",
    "has_bf16_instructions",
]
