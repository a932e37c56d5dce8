"""Reports as one HTML file: `Report` collects the parts, and the templates in `templates/` write them."""

from .report import Report, prediction_html

__all__ = ["Report", "prediction_html"]
