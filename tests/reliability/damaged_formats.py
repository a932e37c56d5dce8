"""The formats of files that this package writes and reads, and what each reader makes of a damaged one.

`python -m tests.reliability.damaged_formats` prints the table of docs/reliability.md.
"""

import io
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from reldn_d2.checkpoint import last_checkpoint_in, read_checkpoint
from reldn_d2.checkpoint.content_digest import DIGEST, content_digest
from reldn_d2.checkpoint.formats import write_weights
from reldn_d2.data import images, load_detections_into_dataset, save_detections
from reldn_d2.evaluation import PerImageRecall, load_per_image, load_predictions, make_protocols
from reldn_d2.evaluation.checks import prepare_prediction
from reldn_d2.evaluation.io.predictions import save_predictions
from reldn_d2.evaluation.io.results import RESULTS_FILE, read_results, save_per_image, save_results
from reldn_d2.evaluation.io.shards import pack, read_shard, write_shard
from reldn_d2.evaluation.io.submission import read_submission, write_submission
from reldn_d2.evaluation.io.triplet_lists import read_triplet_list
from reldn_d2.evaluation.protocols.protocol import NumberFacts, ProtocolResult
from reldn_d2.structures.vocabulary import Vocabulary
from tests.builders.evaluation_scenes import predicted_graph, truth_graph
from tests.reliability.damage import damaged_arrays, damaged_bytes, damaged_json, damaged_lines

TRIES = 200
_NAMES_OF_LIST = (["cup", "dog"], ["on", "by"])
Damage = Callable[[bytes, Random], tuple[str, bytes]]


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        write: writes a good file.
        read: reads it as the commands do, with all checks.
        damages: how a file is damaged.
        legal: kinds of damage, or beginnings of them, that may leave a file of right content, for example
            because a CSV file may have any number of lines.
        name: name of the file.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], Any]
    damages: tuple[Damage, ...]
    legal: tuple[str, ...] = ()
    name: str = "file.bin"


@dataclass
class Counts:
    """What became of damaged files.

    Attributes:
        tried: number of files.
        same: what was read equals what was written, such as after a change of a time in an archive.
        named: refused by an error that names the file.
        counted: read, with a warning that names the file.
        legal: read as another legal content.
        wrong: all others.
    """

    tried: int = 0
    same: int = 0
    named: int = 0
    counted: int = 0
    legal: int = 0
    wrong: list[str] = field(default_factory=list)


# --- arrays, with the digest that does not fit any more, or without it as in files of earlier releases


def _arrays(whole: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(whole)) as archive:
        return dict(archive)


def _saved(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def arrays_with_digest(whole: bytes, random: Random) -> tuple[str, bytes]:
    """Changes an array, not its digest."""
    arrays = _arrays(whole)
    digest = arrays.pop(DIGEST)
    kind, changed = damaged_arrays(arrays, random)
    return kind.partition(":")[0] + " (digest)", _saved({**changed, DIGEST: digest})


def arrays_without_digest(whole: bytes, random: Random) -> tuple[str, bytes]:
    """Changes an array of a file without digest."""
    arrays = _arrays(whole)
    del arrays[DIGEST]
    kind, changed = damaged_arrays(arrays, random)
    return kind, _saved(changed)


def json_with_digest(whole: bytes, random: Random) -> tuple[str, bytes]:
    """Changes a value of a JSON file."""
    kind, changed = damaged_json(whole, random)
    return f"{kind} (digest)", changed


def json_without_digest(whole: bytes, random: Random) -> tuple[str, bytes]:
    """Changes a value of a JSON file of an earlier release."""
    kind, changed = damaged_json(whole.replace(f'"{DIGEST}":'.encode(), b'"other":'), random)
    return kind, changed


def tensors(whole: bytes, random: Random) -> tuple[str, bytes]:
    """Changes a tensor of a checkpoint of `torch.save`."""
    content = torch.load(io.BytesIO(whole), weights_only=True)
    weights = {name: x.numpy() for name, x in content["model"].items()}
    while True:
        kind, changed = damaged_arrays(weights, random)
        if all(x.dtype.kind in "iufb" and x.dtype != np.uint64 for x in changed.values()):
            break
    content["model"] = {name: torch.from_numpy(x.copy()) for name, x in changed.items()}
    stream = io.BytesIO()
    torch.save(content, stream)
    return kind.partition(":")[0], stream.getvalue()


# --- the formats

_NAMES = ["cup", "table", "person"]
_SIZES = {"1": (40, 60), "2": (50, 50), "3": (30, 30)}
_LABELS = {"class_labels": ["cup", "table"], "predicate_labels": ["on", "by", "near"]}
_GRAPHS = {
    "1": predicted_graph([(0, 0, 10, 10), (5, 5, 30, 20)], [0, 1], [(0, 1, 0, 0.9, 1), (1, 0, 2, 0.5, 1)]),
    "2": predicted_graph([(0, 0, 10, 10), (5, 5, 30, 20)], [1, 1], [(0, 1, 1, 0.75, 1)]),
    "3": predicted_graph([], [], []),
}
_TRUTH = truth_graph([(0, 0, 10, 10), (5, 5, 30, 20)], [0, 1], [(0, 1, 0)])


def _write_detections(path: Path) -> None:
    random = np.random.default_rng(0)
    found: dict[int | str, Any] = {}
    for image in range(6):
        count = (3, 0, 5, 1, 4, 2)[image]
        corners = random.uniform(0, 40, (count, 4)).astype(np.float32)
        corners[:, 2:] += corners[:, :2] + 1
        found[10 + image] = corners, random.uniform(0, 1, count), random.integers(0, 3, count)
    save_detections(path, found, _NAMES, made_by="a detector")


def _read_detections(path: Path) -> Any:
    dataset = [{"image_id": 10 + i, "height": 90, "width": 85} for i in range(6)]
    return [x["detections"] for x in load_detections_into_dataset(dataset, path, _NAMES)]


def _write_predictions(path: Path) -> None:
    save_predictions(path, _GRAPHS, dataset_name="toy", task="sgdet", num_predicates=3)


def _read_predictions(path: Path) -> Any:
    """Reads a file and checks each prediction, as `DatasetScorer.prepare` does."""
    saved = load_predictions(path)
    protocols = make_protocols(["motifs"])
    for image, graph in saved.predictions.items():
        try:
            prepare_prediction(
                graph, _TRUTH, "sgdet", protocols, num_classes=2, num_predicates=3, where=f"image {image}"
            )
        except ValueError as error:  # as `reldn evaluate` does
            raise ValueError(f"{path}: {error}") from error
    return saved


def _write_per_image(path: Path) -> None:
    hits = {"R@50": np.array([1, 0, 2]), "right": np.array([0.5, 0.0, 3.0])}
    counts = PerImageRecall(("1", "2", "3"), np.array([2, 0, 3]), hits)
    save_per_image(path, {"motifs": counts, "reldn": counts}, dataset_name="toy", task="sgdet")


def _write_results(path: Path) -> None:
    result = ProtocolResult({}, {})
    for name, k, value in (("R@20", 20, 12.5), ("R@50", 50, 25.0), ("mR_all@50", 50, 10.0)):
        facts = NumberFacts("motifs", "sgdet", "all", "graph constraint", k, "macro", None, 3, 5)
        result.add(name, value, facts)
    save_results(path.parent, {"motifs": result}, dataset_name="toy", task="sgdet", predicate_classes=["on"])


def _write_submission(path: Path, *, kaggle: bool) -> None:
    write_submission(path, _GRAPHS, _SIZES, **_LABELS, kaggle=kaggle)


def _read_submission(path: Path) -> Any:
    return read_submission(path, _SIZES, **_LABELS)


def _write_list(path: Path) -> None:
    lines = ["image_id,subject_index,object_index,predicate,score"]
    lines += [f"{i},{s},{1 - s},{_NAMES_OF_LIST[1][i % 2]},{0.9 - i / 10}" for i in range(5) for s in (0, 1)]
    path.write_text("\n".join(lines) + "\n")


def _read_list(path: Path) -> Any:
    truths = {str(i): truth_graph([(0, 0, 9, 9), (5, 5, 20, 20)], [0, 1], []) for i in range(5)}
    return read_triplet_list(path, truths, "prdcls", Vocabulary(*_NAMES_OF_LIST)).predictions


def _write_weights(path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    weights = {f"layer{i}.weight": torch.rand(3, 5, generator=random) for i in range(4)}
    write_weights(path, weights, Vocabulary(["cup"], ["on"]))


def _write_last_checkpoint(path: Path) -> None:
    path.write_bytes(b"model_0000009.pth")
    for name in ("model_0000009.pth", "model_0000004.pth"):
        path.with_name(name).touch()


def _read_last_checkpoint(path: Path) -> Any:
    found = last_checkpoint_in(path.parent)
    assert found is not None and found.is_file()
    return found.name


def _write_shard(path: Path) -> None:
    write_shard(path, {"task": "sgdet"}, [pack([i], {"a": np.arange(9.0), "b": [i, "x"]}) for i in range(3)])


def _write_sizes(path: Path) -> None:
    images._write_cache(path, {f"{i}.jpg": (100 + i, 7, 30 + i, 40) for i in range(9)})


def _read_sizes(path: Path) -> Any:
    """Without the cache, the sizes are read from the pictures."""
    return images._read_cache(path)


_ARRAYS = (damaged_bytes, arrays_with_digest, arrays_without_digest)
_TEXT = (damaged_bytes, damaged_lines)
# What may leave a legal CSV file: any number of lines, each with any number in range.
_IN_TEXT = ("bit flipped", "byte", "cut", "end cut", "line", "field")
_UNBOUNDED = ("ten times", "1e30", "negative", "out of range")
FORMATS = {
    "detections": Format(
        _write_detections,
        _read_detections,
        _ARRAYS,
        # -1 is within the tolerance for boxes that stick out
        ("rows swapped", "moved by one", "ten times: scores", "ten times: classes", "negative: boxes"),
        "x.npz",
    ),
    "predictions": Format(
        _write_predictions,
        _read_predictions,
        _ARRAYS,
        # Neither the size of the image nor the range of a model's scores is known. Integers have any size.
        (
            *("rows", "moved by one", "ten times: has", "other type"),
            # Without these arrays, entity scores are 1, and ranks are made.
            *(
                f"{kind}: {name}"
                for kind in ("dropped", "renamed")
                for name in ("entity_scores", "rank_in_pair")
            ),
            *(f"{kind}: {name}" for kind in _UNBOUNDED for name in ("boxes", "entity_scores", "score")),
        ),
        "x.npz",
    ),
    "relation_per_image.json": Format(
        _write_per_image,
        load_per_image,
        (damaged_bytes, json_with_digest, json_without_digest),
        # other protocols, metrics or numbers in range
        ("dropped", "renamed", "replaced", "swapped"),
        "relation_per_image.json",
    ),
    "relation_results.csv": Format(_write_results, read_results, _TEXT, _IN_TEXT, RESULTS_FILE),
    "submission, official": Format(
        lambda path: _write_submission(path, kaggle=False), _read_submission, _TEXT, _IN_TEXT, "s.csv"
    ),
    "submission, Kaggle": Format(
        lambda path: _write_submission(path, kaggle=True), _read_submission, _TEXT, _IN_TEXT, "s.csv"
    ),
    "list of triplets": Format(_write_list, _read_list, _TEXT, _IN_TEXT, "s.csv"),
    "checkpoint, .pth": Format(_write_weights, read_checkpoint, (damaged_bytes, tensors), (), "x.pth"),
    "checkpoint, .safetensors": Format(
        _write_weights, read_checkpoint, (damaged_bytes,), (), "x.safetensors"
    ),
    "last_checkpoint": Format(
        _write_last_checkpoint,
        _read_last_checkpoint,
        (damaged_bytes,),
        # may name the other checkpoint of the folder
        ("bit flipped", "byte replaced"),
        "last_checkpoint",
    ),
    "shard of an evaluation": Format(
        _write_shard, read_shard, _ARRAYS, ("rows", "moved by one", *_UNBOUNDED), "x.npz"
    ),
    "cache of image sizes": Format(_write_sizes, _read_sizes, _ARRAYS, (), "x.npz"),
}


def plain(value: Any) -> Any:
    """A value as containers, arrays and numbers, whose digest can be compared."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(x) for key, x in value.items()}
    return [plain(x) for x in value] if isinstance(value, list | tuple) else value


class _Warnings(logging.Handler):
    """Keeps the texts of warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def trials(folder: Path, form: Format, tries: int, seed: int) -> Counts:
    """Damages a file again and again, in each of the ways of its format, and reads it."""
    path = folder / form.name
    form.write(path)
    whole, expected = path.read_bytes(), content_digest({"": plain(form.read(path))})
    counts, random, handler = Counts(), Random(seed), _Warnings()
    logger = logging.getLogger("reldn_d2")
    logger.addHandler(handler)
    try:
        for damage in form.damages:
            for _ in range(tries):
                kind, damaged = damage(whole, random)
                path.write_bytes(damaged)
                handler.texts.clear()
                _judge(form, path, kind, expected, handler.texts, counts)
    finally:
        logger.removeHandler(handler)
    return counts


def _judge(form: Format, path: Path, kind: str, expected: str, warnings: list[str], counts: Counts) -> None:
    counts.tried += 1
    try:
        found = content_digest({"": plain(form.read(path))})
    except (ValueError, OSError) as error:
        text = str(error)
        if str(path) in text and len(text) > len(str(path)) + 30:
            counts.named += 1
        else:
            counts.wrong.append(f"{kind}: {type(error).__name__}: {text}")
    except Exception as error:
        counts.wrong.append(f"{kind}: {type(error).__name__}: {error}")
    else:
        if found == expected:
            counts.same += 1
        elif any(str(path) in text for text in warnings):
            counts.counted += 1
        elif any(kind.startswith(legal) for legal in form.legal) and "digest" not in kind:
            counts.legal += 1
        else:
            counts.wrong.append(f"{kind}: silent")


def table(tries: int, seed: int) -> Iterator[str]:
    """The lines of the table in Markdown."""
    yield "| format | tried | named | counted | read as it was written | other legal content | wrong |"
    yield "|---|---|---|---|---|---|---|"
    for name, form in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            c = trials(Path(folder), form, tries, seed)
        yield f"| {name} | {c.tried} | {c.named} | {c.counted} | {c.same} | {c.legal} | {len(c.wrong)} |"
        for text, number in Counter(c.wrong).most_common(5):
            yield f"    {number} x {text[:300]}"


if __name__ == "__main__":
    for line in table(TRIES, 0):
        print(line)
