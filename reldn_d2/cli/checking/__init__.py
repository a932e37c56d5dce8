"""The report of `reldn check`: text, numbers, and a page with drawn samples."""
