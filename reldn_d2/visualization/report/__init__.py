"""Reports as one HTML file."""

from .report import Report

__all__ = ["Report"]
