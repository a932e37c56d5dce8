"""shards: a row for each image, with its entities and relationships as nested lists, in Parquet files.

Many workers write such files at once, see `reldn predict --format shards`. A row says which image of the
input it is, and has a graph or an error.

The metadata of a file have one entry, `reldn_d2`, in JSON: `identity` (what the results depend on), the
`vocabulary` that the class numbers point to, and what is known of the input: its state, and whether it
ends with this file.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import IO, Any, ClassVar

from reldn_d2.structures.vocabulary import Vocabulary
from reldn_d2.utils.extras import arrow_source, damage_named, import_extra
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import is_unicode, visible
from reldn_d2.utils.shards import Key, ShardHeader

from ..checking import checked_graph
from ..graph import CORNERS, FORMAT_VERSION, SceneGraph, vocabulary_of
from .format import About, Format, check_readable, graph_named

#: Entry of a file's metadata.
METADATA = "reldn_d2"
# Version of the columns and of the metadata.
_VERSION = 1
_KEY_COLUMNS = ("input", "row", "path")


class OtherShardError(ValueError):
    """A complete Parquet file has other columns than the shards of this release."""


@dataclass(frozen=True)
class ImageKey:
    """Which image of an input a row is about.

    Attributes:
        input: file of the input that lists or holds the image; empty for images that are given one by one.
        row: number of the image in it, from 0.
        path: path or URL of the image.
        image_id: id of the image, if the input has one.
    """

    input: str
    row: int
    path: str
    image_id: str | None = None


@dataclass(frozen=True)
class PartHeader(ShardHeader):
    """What a file of rows says of itself.

    Attributes:
        errors: image and reason of each row without a graph.
        ends_input: whether the input ends with this file. It is said only of inputs whose number of rows
            nobody knows before they are read.
        input_state: what tells the input from a later one of its name; empty: nobody knows.
    """

    errors: Sequence[tuple[str, str]] = ()
    ends_input: bool = False
    input_state: str = ""


class RowEncoder:
    """Makes rows of graphs and errors.

    Each row becomes a batch of Arrow, which takes a tenth of the memory of Python's objects.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Takes the classes and predicates in the order of their numbers.

        Raises:
            ValueError: pyarrow is not installed.
        """
        self._things = {name: number for number, name in enumerate(vocabulary.thing_classes)}
        self._predicates = {name: number for number, name in enumerate(vocabulary.predicate_classes)}
        self._arrow, _ = _modules()

    def graph(self, key: ImageKey, graph: SceneGraph) -> Any:
        """The row of an image with a graph, as a `pyarrow.RecordBatch`.

        Raises:
            ValueError: a class is not in the vocabulary.
        """
        entities = [
            {
                "class_index": _number(self._things, entity["class"]),
                "name": entity["class"],
                "score": entity["score"],
                **dict(zip(CORNERS, entity["box"], strict=True)),
            }
            for entity in graph["entities"]
        ]
        relationships = [
            {
                "subject": x["subject"],
                "predicate_index": _number(self._predicates, x["predicate"]),
                "predicate": x["predicate"],
                "object": x["object"],
                "score": x["score"],
                "subject_score": graph["entities"][x["subject"]]["score"],
                "predicate_score": x.get("predicate_score"),
                "object_score": graph["entities"][x["object"]]["score"],
            }
            for x in graph["relationships"]
        ]
        size = {"width": graph["image"]["width"], "height": graph["image"]["height"]}
        return self._row({**_of_key(key), **size, "entities": entities, "relationships": relationships})

    def error(self, key: ImageKey, reason: str) -> Any:
        """The row of an image without a graph, as a `pyarrow.RecordBatch`."""
        return self._row({**_of_key(key), "error": storable(reason)})

    def _row(self, row: Mapping[str, Any]) -> Any:
        # Arrow takes a missing key for null.
        return self._arrow.RecordBatch.from_pylist([row], schema=row_schema())


class ShardFile:
    """A Parquet file with a row for each image. It is a `reldn_d2.utils.shards.ShardKind`."""

    pattern = "part-*.parquet"

    def write(
        self,
        file: IO[bytes],
        rows: Sequence[Any],
        identity: Mapping[str, str],
        vocabulary: Vocabulary,
        *,
        ends_input: bool = False,
        input_state: str = "",
    ) -> None:
        """Writes the rows of a shard into a binary file.

        Args:
            file: the file.
            rows: results of `RowEncoder`.
            identity: what the results depend on.
            vocabulary: the classes and predicates that the numbers point to.
            ends_input, input_state: see `PartHeader`.
        """
        content = {
            "format_version": _VERSION,
            "identity": dict(identity),
            "vocabulary": {
                "thing_classes": list(vocabulary.thing_classes),
                "predicate_classes": list(vocabulary.predicate_classes),
            },
            "ends_input": ends_input,
            "input_state": input_state,
        }
        arrow, parquet = _modules()
        schema = row_schema().with_metadata({METADATA: json.dumps(content)})
        table = arrow.Table.from_batches(rows, schema=row_schema()).combine_chunks()
        with parquet.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
            writer.write_table(table.replace_schema_metadata(schema.metadata))

    def read_header(self, path: Path) -> PartHeader:
        """Reads what a shard says, and the keys of its rows: input, row and path.

        Raises:
            FileNotFoundError: there is no such file.
            OtherShardError: it is complete, and has other columns or another version.
            ValueError: it is damaged or cut off.
        """
        content = read_metadata(path)
        _, parquet = _modules()
        with (
            damage_named(str(path), "Parquet"),
            parquet.ParquetFile(arrow_source(path), page_checksum_verification=True) as file,
        ):
            columns = file.read(columns=[*_KEY_COLUMNS, "error"]).to_pydict()
        keys: list[Key] = list(zip(*(columns[name] for name in _KEY_COLUMNS), strict=True))
        found = zip(columns["path"], columns["error"], strict=True)
        errors = [(image, reason) for image, reason in found if reason is not None]
        ends_input, state = content.get("ends_input") is True, str(content.get("input_state", ""))
        return PartHeader(_texts(content["identity"]), keys, errors, ends_input, state)


def read_identity(path: Path) -> dict[str, str]:
    """What the results of a shard depend on. Only the end of the file is read.

    Raises:
        FileNotFoundError, ValueError: see `ShardFile.read_header`.
    """
    return _texts(read_metadata(path)["identity"])


def read_metadata(path: Path) -> dict[str, Any]:
    """The entry of the file's metadata, after the columns were checked.

    Raises:
        FileNotFoundError, ValueError: see `ShardFile.read_header`.
    """
    check_readable(path)
    _, parquet = _modules()
    with damage_named(str(path), "Parquet"):
        found = parquet.read_schema(arrow_source(path))
    try:
        content = json.loads((found.metadata or {}).get(METADATA.encode(), b"{}"))
        if not content:
            raise ValueError(f"its metadata have no entry {METADATA}")
        if content["format_version"] != _VERSION:
            raise ValueError(f"it has format version {content['format_version']}, not {_VERSION}")
        _texts(content["identity"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise OtherShardError(
            f"{path} is no shard that this release has written ({error}): move it to another folder"
        ) from error
    if different := _different_columns(found):
        raise OtherShardError(
            f"{path} has other columns than the shards of this release ({different}): move it to another "
            "folder, or choose another one for the results"
        )
    loaded: dict[str, Any] = content
    return loaded


class Shards(Format):
    """A row for each image, in one file or in a folder of files. Needs the package pyarrow."""

    ending = ".parquet"
    needs: ClassVar[dict[str, str]] = {"pyarrow": "parquet"}

    def write(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes the rows of all graphs as one file, see `Format.write`. Numbers are rounded to float32."""
        self.check_installed()
        found = list(graphs)
        vocabulary = about.vocabulary or vocabulary_of(found)
        encoder = RowEncoder(vocabulary)
        rows = [
            graph_named(path, partial(_checked_row, encoder, number), graph)
            for number, graph in enumerate(found)
        ]
        with atomic_write(path) as file:
            ShardFile().write(file, rows, {"model": about.model}, vocabulary)

    def read(self, path: Path) -> Iterator[SceneGraph]:
        """Reads the graphs. Images that have an error instead of a graph are left out."""
        self.check_installed()
        parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not parts:
            raise ValueError(f"{path} is a folder without a file that ends in .parquet: check the path")
        for part in parts:
            read_metadata(part)
            yield from _graphs(part)


def is_shard(path: Path) -> bool:
    """Whether a Parquet file has the columns of shards, not those of a table of relationships."""
    _, parquet = _modules()
    check_readable(path)
    with damage_named(str(path), "Parquet"):
        return set(row_schema().names) <= set(parquet.read_schema(arrow_source(path)).names)


def storable(text: str) -> str:
    """A text as Parquet can hold it. Half of a UTF-16 pair, as in names of files, becomes an escape."""
    return text if is_unicode(text) else visible(text)


def _graphs(path: Path) -> Iterator[SceneGraph]:
    _, parquet = _modules()
    with (
        damage_named(str(path), "Parquet"),
        parquet.ParquetFile(arrow_source(path), page_checksum_verification=True) as file,
    ):
        batches = [file.read_row_group(number).to_pylist() for number in range(file.num_row_groups)]
    for row in (row for batch in batches for row in batch):
        if row["error"] is None:
            yield checked_graph(_graph(row, path), f"{path}, row {row['row']}")


def _graph(row: Mapping[str, Any], path: Path) -> Any:
    with damage_named(f"{path}, row {row['row']}", "row of a shard"):
        return {
            "version": FORMAT_VERSION,
            "image": {"file_name": row["path"], "width": row["width"], "height": row["height"]},
            "entities": [
                {
                    "id": number,
                    "class": x["name"],
                    "score": x["score"],
                    "box": [x[corner] for corner in CORNERS],
                }
                for number, x in enumerate(row["entities"])
            ],
            "relationships": [
                {name: x[name] for name in ("subject", "object", "predicate", "score")}
                | ({} if x["predicate_score"] is None else {"predicate_score": x["predicate_score"]})
                for x in row["relationships"]
            ],
        }


def _checked_row(encoder: RowEncoder, number: int, graph: SceneGraph) -> Any:
    texts = [graph["image"]["file_name"], *(x["class"] for x in graph["entities"])]
    for text in (*texts, *(x["predicate"] for x in graph["relationships"])):
        if not is_unicode(text):
            raise ValueError(
                f"the text {text[:80]!r} holds half of a UTF-16 pair, which Parquet can't hold: use json"
            )
    return encoder.graph(ImageKey("", number, graph["image"]["file_name"]), graph)


def _of_key(key: ImageKey) -> dict[str, Any]:
    image_id = None if key.image_id is None else storable(key.image_id)
    return {
        "input": storable(key.input),
        "row": key.row,
        "path": storable(key.path),
        "image_id": image_id,
    }


def _number(numbers: Mapping[str, int], name: str) -> int:
    if name not in numbers:
        raise ValueError(f"the vocabulary does not have {name!r}: give all classes and predicates")
    return numbers[name]


def _different_columns(found: Any) -> str:
    """What differs between the columns of a file and those of this release, in words; empty: nothing."""
    wanted = row_schema()
    types = dict(zip(found.names, found.types, strict=True))
    missing = [f"no {name}" for name in wanted.names if name not in types]
    more = [f"{name} more" for name in types if name not in wanted.names]
    others = [
        f"{field.name} is {types[field.name]}, not {field.type}"
        for field in wanted
        if field.name in types and types[field.name] != field.type
    ]
    return "; ".join((*missing, *more, *others))


def _texts(identity: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(text) for name, text in identity.items()}


def _modules() -> tuple[Any, Any]:
    purpose = "for shards in Parquet"
    return import_extra("pyarrow", "parquet", purpose), import_extra("pyarrow.parquet", "parquet", purpose)


@cache
def row_schema() -> Any:
    """The columns: one row an image."""
    arrow, _ = _modules()
    corners = [(name, arrow.float32()) for name in CORNERS]
    entity = arrow.struct(
        [("class_index", arrow.int32()), ("name", arrow.string()), ("score", arrow.float32()), *corners]
    )
    scores = ("score", "subject_score", "predicate_score", "object_score")
    relationship = arrow.struct(
        [
            ("subject", arrow.int32()),
            ("predicate_index", arrow.int32()),
            ("predicate", arrow.string()),
            ("object", arrow.int32()),
            *((name, arrow.float32()) for name in scores),
        ]
    )
    return arrow.schema(
        [
            ("input", arrow.string()),
            ("row", arrow.int64()),
            ("path", arrow.string()),
            ("image_id", arrow.string()),
            ("width", arrow.int32()),
            ("height", arrow.int32()),
            ("error", arrow.string()),
            ("entities", arrow.list_(entity)),
            ("relationships", arrow.list_(relationship)),
        ]
    )
