"""The results of an evaluation: files, and tables for the log.

    relation_results.md       the headline, and one table for each protocol with the numbers that people read
    relation_results.csv      protocol, metric, value: every number; and the fields of `NumberFacts`
    relation_predicates.md    a table of the predicates for each protocol that has one
    relation_predicates.csv   protocol, predicate, column, value; and what the column is of
    relation_per_image.json   the counts of every image, for comparing two models image by image
    relation_excluded.json    protocol -> a sentence about images that it does not score, if there are any

The CSV files have one number in each line, with all its digits. The value of a predicate is empty if it is
undefined (NaN); other undefined numbers have no line.
Names are written with `to_csv` of `reldn_d2.utils.plain_text`, so that no spreadsheet runs them.

Version 2 of the JSON file, with N images in each entry (an entry for a subset of the data set has fewer):

    {"format_version": 2, "dataset_name": str, "task": "sgdet",
     "counts": {name: {"image_ids": [N texts], "ground_truths": [N ints], "hits": {metric: [N numbers]}}},
     "sha256": digest of all others}

Ids are different, and hits are in [0, ground truth] of their image. Older files have the task in upper case
and no digest. The tables are Markdown, which is also easy to read in a log.
"""

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reldn_d2.utils.counted import counted
from reldn_d2.utils.csv_files import check_end, csv_rows
from reldn_d2.utils.io import atomic_write, digest, digest_of_text
from reldn_d2.utils.json_files import is_number, read_text, without_repeated_keys
from reldn_d2.utils.plain_text import from_csv, markdown_table, to_csv, to_markdown

from ..graphs import FloatArray, IntArray
from ..metrics import PerImageRecall
from ..protocols.headline import headline
from ..protocols.protocol import NumberFacts, ProtocolResult

TABLES_FILE = "relation_results.md"
RESULTS_FILE = "relation_results.csv"
PREDICATE_TABLES_FILE = "relation_predicates.md"
PREDICATES_FILE = "relation_predicates.csv"
PER_IMAGE_FILE = "relation_per_image.json"
EXCLUDED_FILE = "relation_excluded.json"
FORMAT_VERSION = 2  # of the JSON file
_DIGEST = "sha256"
_AGAIN = "run the evaluation again"
_PIECE = 10_000  # numbers of the JSON file that are text at the same time

# Metrics like "macro_rel_k3_R@50" have one table for each average, with a row for each k.
_RECALL_BY_K = re.compile(r"(macro_|micro_|pooled_|)(rel|phr)_k(\d+)_(\w+)@(\d+)")
_RECALL = re.compile(r"(.+)@(\d+)")
_STARRED = "_starred"
_OTHER = "other"  # group of the numbers that are no recalls
# Columns of the table of predicates that say how often a predicate is annotated.
_COUNTS = ("annotated", "instance cases", "proximity cases")
_SHOWN_IN_LOG = 50
# Numbers that are not in the short tables, but in the CSV file: the second averages, and for `reldn` all but
# recall, and zero-shot recall at 50.
_LEFT_TO_CSV = re.compile(r"(macro|micro|pooled)_.*|.*_k\d+_(?!R@|zR@50$).*")
# Columns of the CSV files after the value.
_COLUMN_FACTS = ("task", "pairs", "constraint", "k", "average")
_FACTS = (*_COLUMN_FACTS, "predicates", "images", "relationships")


def save_results(
    folder: str | os.PathLike[str],
    results: Mapping[str, ProtocolResult],
    *,
    dataset_name: str,
    task: str,
    predicate_classes: Sequence[str],
    note: str = "",
) -> None:
    """Write the files, each in one step. They replace the files of an earlier evaluation.

    Args:
        folder: folder for the files, made if missing.
        results: name of the protocol -> result.
        dataset_name, task: the data set and the task of the evaluation.
        predicate_classes: names of the P predicates.
        note: a sentence about all numbers, for the tables.
    """
    folder = Path(folder)
    first = headline({name: _defined(result) for name, result in results.items()})
    _save_sections(
        folder / TABLES_FILE,
        f"# Relationships in {to_markdown(dataset_name)}, {task}",
        "" if first is None else f"**{to_markdown(f'{first.metric} of {first.group}: {first.value:.2f}')}**",
        note,
        f"Percent. Every number is in {RESULTS_FILE}, those of each predicate are in {PREDICATE_TABLES_FILE} "
        f"and {PREDICATES_FILE}.",
        *(f"## {to_markdown(name)}\n\n{short_table(result)}" for name, result in results.items()),
    )
    predicate_tables = {
        name: "\n\n".join(_predicate_table(result, predicate_classes, complete=True))
        for name, result in results.items()
    }
    _save_sections(
        folder / PREDICATE_TABLES_FILE,
        f"# Predicates in {to_markdown(dataset_name)}, {task}",
        note,
        "Percent, except for counts. A dash is an undefined number.",
        *(f"## {to_markdown(name)}\n\n{table}" for name, table in predicate_tables.items() if table),
    )
    _save_csv(
        folder / RESULTS_FILE,
        ("protocol", "metric"),
        _FACTS,
        (
            ((name, metric), value, result.facts.get(metric))
            for name, result in results.items()
            for metric, value in _defined(result).items()
        ),
    )
    _save_csv(
        folder / PREDICATES_FILE,
        ("protocol", "predicate", "column"),
        _COLUMN_FACTS,
        (
            ((name, predicate, column), value, result.column_facts.get(column))
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
    excluded = {name: result.excluded for name, result in results.items() if result.excluded}
    if excluded:
        with atomic_write(folder / EXCLUDED_FILE) as file:
            file.write(json.dumps(excluded, indent=1).encode())
    else:
        (folder / EXCLUDED_FILE).unlink(missing_ok=True)


def excluded_images(excluded: int, images: int) -> str:
    """What is said about images of a data set that do not count; empty if all count."""
    if not excluded:
        return ""
    one, several = (
        f"of {images} images {words}" for words in ("was unreadable and is", "were unreadable and are")
    )
    return f"{counted(excluded, one, several)} excluded: every number is of the others."


def remove_results(folder: str | os.PathLike[str]) -> None:
    """Remove the files of results, if they exist.

    Results of other predictions must not stay beside new predictions.
    """
    for name in (
        *(TABLES_FILE, RESULTS_FILE, PREDICATE_TABLES_FILE, PREDICATES_FILE, PER_IMAGE_FILE),
        EXCLUDED_FILE,
    ):
        (Path(folder) / name).unlink(missing_ok=True)


def _save_sections(path: Path, *sections: str) -> None:
    """Write a Markdown file from its sections. Empty ones are left out."""
    with atomic_write(path) as file:
        file.write(("\n\n".join(filter(None, sections)) + "\n").encode())


def _defined(result: ProtocolResult) -> dict[str, float]:
    return {name: value for name, value in result.metrics.items() if not math.isnan(value)}


def _save_csv(
    path: Path,
    names: Sequence[str],
    facts: Sequence[str],
    rows: Iterable[tuple[tuple[str, ...], float, NumberFacts | None]],
) -> None:
    """Write a CSV file of numbers.

    Args:
        path: file to write.
        names: columns before the value.
        facts: attributes of `NumberFacts`, the columns after it.
        rows: texts of `names`, value, and its facts if they are known.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*names, "value", *facts))
    for row, value, known in rows:
        # The csv module writes None as an empty field.
        after = [None if known is None else getattr(known, fact) for fact in facts]
        writer.writerow((*map(to_csv, row), "" if math.isnan(value) else value, *after))
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def read_results(path: str | os.PathLike[str]) -> dict[str, dict[str, float]]:
    """Read relation_results.csv. Returns protocol -> metric -> percent; undefined ones are NaN.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is cut off or no such table, a value is no finite number, or a number is there twice.
    """
    check_end(Path(path), "Run the evaluation again")
    results: dict[str, dict[str, float]] = {}
    for line, (protocol, metric, value) in csv_rows(path, ("protocol", "metric", "value"), {}):
        metrics, name = results.setdefault(from_csv(protocol), {}), from_csv(metric)
        try:
            number = float(value or "nan")
        except ValueError:
            number = math.inf
        if name in metrics or math.isinf(number) or (value and math.isnan(number)):
            problem = "is there twice" if name in metrics else f"is {value!r}, which is no finite number"
            raise ValueError(f"{path}: line {line}: {metric} of {protocol} {problem}; {_AGAIN}")
        metrics[name] = number
    return results


def short_table(result: ProtocolResult) -> str:
    """Format the numbers of one protocol that people read as one table, and the notes.

    If all are recalls, there is a row for each recall, or for each k, and a column for each K; otherwise each
    number has a row. Left out are second averages, undefined numbers and numbers of single predicates. Lines
    below the table say what the numbers are of.
    """
    shown = {
        name: value
        for name, value in _of_all_predicates(result).items()
        if not (math.isnan(value) or _LEFT_TO_CSV.fullmatch(name))
    }
    return "\n\n".join([*_one_table(shown), *_facts_lines(result, shown), *result.notes])


def _facts_lines(result: ProtocolResult, shown: Iterable[str]) -> Iterator[str]:
    """What the shown numbers are of; nothing if it is not known.

    What is the same for all of them is said in the first line, and the rest in a list with a line for each
    meaning.
    """
    known = {name: result.facts[name] for name in shown if name in result.facts}
    if not known:
        return
    first = next(iter(known.values()))
    same_limit = len({facts.constraint for facts in known.values()}) == 1
    # meaning -> constraint -> rows of the table, as keys
    meanings: dict[str, dict[str, dict[str, None]]] = {}
    for name, facts in known.items():
        label, constraint = _row_of(name, facts)
        words = [facts.average]
        if facts.predicates is not None:
            words.append(_number(facts.predicates, "predicate"))
        if facts.k is not None and label == name:
            words.append(f"first {facts.k} triplets of an image")
        if _size(facts) != _size(first):
            words.append(_size(facts))
        of_meaning = meanings.setdefault(", ".join(filter(None, words)), {})
        of_meaning.setdefault("" if same_limit else f" ({constraint})", {})[label] = None
    where = [
        f"Protocol {to_markdown(first.protocol)}",
        f"task {first.task}" if first.task else "",
        f"{first.pairs} pairs" if first.pairs else "",
        first.constraint if same_limit else "",
        _size(first),
    ]
    yield f"{', '.join(filter(None, where))}:"
    lines = []
    for meaning, of_meaning in meanings.items():
        rows = (f"{to_markdown(', '.join(labels))}{limit}" for limit, labels in of_meaning.items())
        lines.append(f"* {', '.join(rows)}: {meaning}")
    yield "\n".join(lines)


def _row_of(name: str, facts: NumberFacts) -> tuple[str, str]:
    """The name of a recall without its K, and of one of many lists without its k; and its constraint."""
    constraint = facts.constraint
    if found := _RECALL_BY_K.fullmatch(name):
        average, kind, _, recall, at = found.groups()
        name, constraint = f"{average}{kind}_k_{recall}@{at}", "k predicates a pair"
    recall, separator, at = name.partition("@")
    return f"{recall}@K" if separator and at == str(facts.k) else name, constraint


def _size(facts: NumberFacts) -> str:
    relationships, images = _number(facts.relationships, "relationship"), _number(facts.images, "image")
    return f"{relationships} in {images}"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _one_table(metrics: Mapping[str, float]) -> Iterator[str]:
    places = {name: _place(name) for name in metrics}
    if any(group == _OTHER for _, group, _, _ in places.values()):
        yield _markdown(["", "%"], [[name, _text(value)] for name, value in metrics.items()])
    else:
        joined = {name: (corner, "", row, column) for name, (corner, _, row, column) in places.items()}
        yield from _tables(joined, metrics)


def results_table(result: ProtocolResult, predicate_classes: Sequence[str], *, complete: bool = False) -> str:
    """Format the numbers of one protocol: a few tables of metrics, a table of the predicates, and the notes.

    Numbers are percent with two decimals, "-" if undefined (NaN). Predicates are sorted by how often they are
    annotated, then by name. A line below the table says how many predicates are not annotated.

    Args:
        result: numbers of a split.
        predicate_classes: names of the P predicates.
        complete: whether the table of predicates has all columns; else it has only the recalls at 50.
    """
    return "\n\n".join(
        [
            *_metric_tables(result),
            *_predicate_table(result, predicate_classes, complete=complete),
            *result.notes,
        ]
    )


def _metric_tables(result: ProtocolResult) -> Iterator[str]:
    metrics = _of_all_predicates(result)
    yield from _tables({name: _place(name) for name in metrics}, metrics)


def _of_all_predicates(result: ProtocolResult) -> dict[str, float]:
    """The metrics without those that the table of predicates shows ("AP_rel/on" in a column "AP_rel")."""
    return {
        name: value
        for name, value in result.metrics.items()
        if "/" not in name or name.partition("/")[0] not in result.per_predicate
    }


def _tables(places: Mapping[str, tuple[str, str, str, str]], metrics: Mapping[str, float]) -> Iterator[str]:
    """A table for each corner and group of the places (see `_place`)."""
    tables: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for name, (corner, group, row, column) in places.items():
        tables.setdefault((corner, group), {}).setdefault(row, {})[column] = _text(metrics[name])
    for (corner, _), rows in tables.items():
        columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
        cells = [[row, *(found.get(column, "") for column in columns)] for row, found in rows.items()]
        yield _markdown([corner, *columns], cells)


def _place(metric: str) -> tuple[str, str, str, str]:
    """The cell of a metric: corner and group of its table, row, column."""
    if found := _RECALL_BY_K.fullmatch(metric):
        average, kind, k, recall, at = found.groups()
        return "k", f"{average}{recall}", k, f"{average}{kind}_k_{recall}@{at}"
    if found := _RECALL.fullmatch(metric):
        name, at = found.groups()
        return "", "recall", f"{name}@K", f"K={at}"
    if metric.endswith(_STARRED):
        return "", _OTHER, metric.removesuffix(_STARRED), "% starred"
    return "", _OTHER, metric, "%"


def _predicate_table(
    result: ProtocolResult, predicate_classes: Sequence[str], *, complete: bool
) -> Iterator[str]:
    columns = {
        name: values.tolist()
        for name, values in result.per_predicate.items()
        if complete or "@" not in name or name.endswith(f"@{_SHOWN_IN_LOG}")
    }
    if not columns:
        return
    counts = [name for name in _COUNTS if name in columns]
    totals = [sum(columns[name][i] for name in counts) for i in range(len(predicate_classes))]
    by_count = sorted(range(len(totals)), key=lambda i: (-totals[i], predicate_classes[i]))
    listed = [i for i in by_count if totals[i] or not counts]
    if listed:
        rows = [[predicate_classes[i], *(_text(values[i]) for values in columns.values())] for i in listed]
        yield _markdown(["predicate", *columns], rows)
    if len(listed) < len(totals):
        yield f"Predicates not listed ({', '.join(counts)}: 0): {len(totals) - len(listed)}."


def _text(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.2f}"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(header, rows, ("left", *("right" for _ in header[1:])))


def save_per_image(
    path: str | os.PathLike[str], counts: Mapping[str, PerImageRecall], *, dataset_name: str, task: str
) -> None:
    """Write the JSON file of counts in one step.

    Args:
        path: file to write; its folder must exist.
        counts: name of a protocol, sometimes followed by the kind of cases -> counts.
        dataset_name, task: the data set and the task of the evaluation.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "dataset_name": dataset_name,
        "task": task,
        "counts": {
            name: {"image_ids": count.image_ids, "ground_truths": count.ground_truths, "hits": count.hits}
            for name, count in counts.items()
        },
    }
    of_content = digest_of_text(lambda: _json_pieces(content, sort_keys=True))
    with atomic_write(path) as file:
        for piece in _json_pieces({**content, _DIGEST: of_content}):
            file.write(piece.encode())


def _json_pieces(value: Any, *, sort_keys: bool = False) -> Iterator[str]:
    """The text that `json.dumps` makes, in pieces, so that the text of millions of numbers is never whole.

    Args:
        value: mappings with texts as keys, lists and arrays of numbers or texts, and single values.
        sort_keys: whether the keys of mappings are sorted.
    """
    if isinstance(value, Mapping):
        yield "{"
        for number, key in enumerate(sorted(value) if sort_keys else value):
            yield f"{', ' if number else ''}{json.dumps(key)}: "
            yield from _json_pieces(value[key], sort_keys=sort_keys)
        yield "}"
    elif isinstance(value, tuple | list | np.ndarray):
        yield "["
        for start in range(0, len(value), _PIECE):
            piece = value[start : start + _PIECE]
            text = json.dumps(piece.tolist() if isinstance(piece, np.ndarray) else piece)
            yield f"{', ' if start else ''}{text[1:-1]}"
        yield "]"
    else:
        yield json.dumps(value)


def load_per_image(path: str | os.PathLike[str]) -> dict[str, PerImageRecall]:
    """Read a file that `save_per_image` wrote.

    Returns:
        Name of a protocol, sometimes followed by the kind of cases -> counts.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a per-image file of this version, is damaged, or was changed. The
            message names the protocol and the image.
    """
    return _read_per_image(path)[1]


def evaluation_of(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The data set and the task whose counts a file of `save_per_image` holds; the task in lower case.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: see `load_per_image`; or the file does not name them.
    """
    content, _ = _read_per_image(path)
    dataset_name, task = content.get("dataset_name"), content.get("task")
    if not isinstance(dataset_name, str) or not isinstance(task, str):
        raise ValueError(f"{path}: 'dataset_name' and 'task' must be texts; {_AGAIN}")
    return dataset_name, task.lower()


def _read_per_image(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, PerImageRecall]]:
    """What a per-image file holds, and its counts, checked."""
    try:
        content = json.loads(read_text(path), object_pairs_hook=without_repeated_keys)
    # RecursionError: the lists are nested too deeply
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a per-image file ({error}); {_AGAIN}") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(f"{path}: format version {version}, not {FORMAT_VERSION}; {_AGAIN}")
    counts, saved = content.get("counts"), content.pop(_DIGEST, None)
    if not isinstance(counts, dict):
        raise ValueError(f"{path}: 'counts' must name protocols; {_AGAIN}")
    loaded = {name: _counts_of(count, f"{path}: counts of {name!r}") for name, count in counts.items()}
    if saved is not None and saved != _digest(content):
        raise ValueError(
            f"{path} was changed or damaged after it was written: its content does not have the digest in "
            f"'{_DIGEST}'. If you changed it on purpose, delete '{_DIGEST}' in it, else {_AGAIN}"
        )
    return content, loaded


def _digest(content: Mapping[str, Any]) -> str:
    return digest([json.dumps(content, sort_keys=True)])


def _counts_of(count: Any, where: str) -> PerImageRecall:
    """The counts of one protocol, checked."""
    if not isinstance(count, dict) or not {"image_ids", "ground_truths", "hits"} <= count.keys():
        raise ValueError(f"{where} must have image_ids, ground_truths and hits; {_AGAIN}")
    ids, hits = count["image_ids"], count["hits"]
    if not isinstance(ids, list) or not all(isinstance(x, str) for x in ids):
        raise ValueError(f"{where}: image_ids must be a list of texts; {_AGAIN}")
    if len(set(ids)) < len(ids):
        repeated = next(x for x in ids if ids.count(x) > 1)
        raise ValueError(f"{where}: image {repeated!r} is there twice; {_AGAIN}")
    truths = _numbers_of(count["ground_truths"], ids, f"{where}: ground_truths")
    if truths.dtype != np.int64 or (truths < 0).any():
        raise ValueError(f"{where}: ground_truths must be integers that are not negative; {_AGAIN}")
    if not isinstance(hits, dict):
        raise ValueError(f"{where}: hits must name metrics; {_AGAIN}")
    found = {metric: _numbers_of(x, ids, f"{where}: hits of {metric!r}") for metric, x in hits.items()}
    for metric, numbers in found.items():
        # Not "> truths": NaN is outside, too.
        outside = ~((numbers >= 0) & (numbers <= truths))
        if outside.any():
            row = int(outside.argmax())
            raise ValueError(
                f"{where}: hits of {metric!r} in image {ids[row]!r} are {numbers[row]}, not in [0, "
                f"{truths[row]}]; {_AGAIN}"
            )
    return PerImageRecall(tuple(ids), truths.astype(np.int64), found)


def _numbers_of(values: Any, ids: Sequence[str], where: str) -> IntArray | FloatArray:
    """A list of one number for each image as int64, or as float64 if one is no integer."""
    if not isinstance(values, list) or len(values) != len(ids):
        raise ValueError(f"{where} must be a list of {len(ids)} numbers, one for each image; {_AGAIN}")
    kinds = set(map(type, values))
    if not kinds <= {int, float} or (int in kinds and not all(map(is_number, values))):
        wrong = next(i for i, x in enumerate(values) if not is_number(x))
        raise ValueError(f"{where} of image {ids[wrong]!r} must be a number; {_AGAIN}")
    return np.array(values, dtype=np.float64) if float in kinds else np.array(values, dtype=np.int64)
