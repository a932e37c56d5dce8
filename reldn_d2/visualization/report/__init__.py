"""Reports as one HTML file: `Report` collects the parts, the templates in `templates/` write them."""

from .report import Report

__all__ = ["Report"]
