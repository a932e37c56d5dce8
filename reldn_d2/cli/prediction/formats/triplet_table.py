"""csv: a table with a row for each relationship, for spreadsheets."""

import csv
from io import StringIO

from reldn_d2.scene_graphs.triplets import COLUMNS, rows_of
from reldn_d2.utils.plain_text import to_csv

from .writer import AppendingWriter, Result


class TripletTable(AppendingWriter):
    """One row a relationship. Names that a spreadsheet would run have an apostrophe before them."""

    shared = "triplets.csv"
    header = (",".join(COLUMNS) + "\n").encode()

    def encode(self, result: Result) -> bytes:
        """The rows of an image."""
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row in rows_of(result.graph):
            writer.writerow([to_csv(value) if isinstance(value, str) else value for value in row])
        return text.getvalue().encode()
