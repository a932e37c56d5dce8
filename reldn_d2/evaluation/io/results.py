"""Results of an evaluation in files: for people, for spreadsheets, and for comparing two models.

    relation_results.md       the tables of all protocols, complete
    relation_results.csv      protocol, metric, value
    relation_predicates.csv   protocol, predicate, column, value
    relation_per_image.json   see `per_image_file`

The CSV files have one number a line, with all its digits; the value is empty where it is undefined (NaN).
"""

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reldn_d2.utils.io import replace_when_complete

from ..protocols.protocol import ProtocolResult
from .per_image import save_per_image
from .results_table import results_table

TABLES_FILE = "relation_results.md"
RESULTS_FILE = "relation_results.csv"
PREDICATES_FILE = "relation_predicates.csv"
PER_IMAGE_FILE = "relation_per_image.json"


def save_results(
    folder: str | os.PathLike[str],
    results: Mapping[str, ProtocolResult],
    *,
    dataset_name: str,
    task: str,
    predicate_classes: Sequence[str],
) -> None:
    """Write the four files, each in one step. Files of an earlier evaluation are replaced.

    Args:
        folder: made if missing.
        results: by name of the protocol.
        dataset_name, task: what was evaluated.
        predicate_classes: P names.
    """
    folder = Path(folder)
    sections = [
        f"# Relationships in {dataset_name}, {task}",
        "Percent, except for counts. A dash is an undefined number.",
        *(
            f"## {name}\n\n{results_table(result, predicate_classes, complete=True)}"
            for name, result in results.items()
        ),
    ]
    with replace_when_complete(folder / TABLES_FILE) as file:
        file.write(("\n\n".join(sections) + "\n").encode())
    _save_csv(
        folder / RESULTS_FILE,
        ("protocol", "metric", "value"),
        (
            (name, metric, value)
            for name, result in results.items()
            for metric, value in result.metrics.items()
        ),
    )
    _save_csv(
        folder / PREDICATES_FILE,
        ("protocol", "predicate", "column", "value"),
        (
            (name, predicate, column, value)
            for name, result in results.items()
            for column, values in result.per_predicate.items()
            for predicate, value in zip(predicate_classes, values.tolist(), strict=True)
        ),
    )
    save_per_image(
        folder / PER_IMAGE_FILE,
        {name: counts for result in results.values() for name, counts in result.per_image.items()},
        dataset_name=dataset_name,
        task=task,
    )


def remove_results(folder: str | os.PathLike[str]) -> None:
    """Remove the four files, if they are there: new predictions must not lie beside the results of others."""
    for name in (TABLES_FILE, RESULTS_FILE, PREDICATES_FILE, PER_IMAGE_FILE):
        (Path(folder) / name).unlink(missing_ok=True)


def _save_csv(path: Path, header: Sequence[str], rows: Iterable[tuple[*tuple[str, ...], float]]) -> None:
    """Write rows whose last column is the value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows((*row[:-1], "" if math.isnan(row[-1]) else row[-1]) for row in rows)
    with replace_when_complete(path) as file:
        file.write(text.getvalue().encode())
