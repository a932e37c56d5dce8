"""Golden cases: small evaluations whose numbers were worked out by hand, one JSON file each."""

from .cases import GoldenCase, golden_cases

__all__ = ["GoldenCase", "golden_cases"]
