"""Results of an evaluation, for people and for spreadsheets."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import tabulate

from .per_image_file import save_per_image
from .protocol import ProtocolResult

PER_IMAGE_FILE = "relation_per_image.json"


def save_results(
    folder: str | os.PathLike[str],
    results: Mapping[str, ProtocolResult],
    *,
    dataset_name: str,
    task: str,
    predicate_classes: Sequence[str],
) -> None:
    """Write the counts of every image."""
    save_per_image(
        Path(folder) / PER_IMAGE_FILE,
        {name: counts for result in results.values() for name, counts in result.per_image.items()},
        dataset_name=dataset_name,
        task=task,
    )


def results_table(result: ProtocolResult) -> str:
    """Readable table of one protocol's numbers: recalls by K, then the others."""
    recalls: dict[str, dict[int, float]] = {}
    others = []
    for name, value in result.metrics.items():
        kind, at, k = name.rpartition("@")
        if at and k.isdigit():
            recalls.setdefault(kind, {})[int(k)] = value
        else:
            others.append((name, value))
    ks = sorted({k for row in recalls.values() for k in row})
    tables = []
    if recalls:
        rows = [[f"{kind}@K", *(row.get(k) for k in ks)] for kind, row in recalls.items()]
        tables.append(tabulate.tabulate(rows, ["", *(f"K={k}" for k in ks)], "pipe", floatfmt=".2f"))
    if others:
        tables.append(tabulate.tabulate(others, ["", "%"], "pipe", floatfmt=".2f"))
    return "\n\n".join([*tables, *result.notes])
