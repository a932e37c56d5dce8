"""Predicts a part of a large input, and writes it as shards. Any number of workers do so at once.

A *unit* is what one worker reads from start to end (`reldn_d2.data.sources`). It is cut into *chunks* of
`shard_size` rows, and each chunk becomes a shard. The images of a chunk go through the predictor on their
own, so no answer depends on which worker, or which engine, has the chunk. The name of the shard follows from
the input and the number of its first row, so each worker finds out alone what is finished.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from reldn_d2.data.sources import InputReader, InputRow, Unit
from reldn_d2.scene_graphs.formats.shards import (
    ImageKey,
    OtherShardError,
    PartHeader,
    RowEncoder,
    ShardFile,
    read_identity,
    storable,
)
from reldn_d2.structures import Vocabulary
from reldn_d2.utils.shards import ShardFolder, differences

from .attempts import DEATHS, Attempts
from .predictor import Outcome, Request
from .reasons import reason_of

logger = logging.getLogger(__name__)

#: Folders in the output folder: the results, and the attempts at chunks that are not finished.
SHARDS, ATTEMPTS = "shards", "attempts"
#: So many failed images of a unit are named to who counts; the tables name all.
NAMED = 20
# So many differences between two runs are named.
_DIFFERENCES = 10
_TOOK_DOWN = (
    f"took the worker down {DEATHS} times (the system ended it, such as for want of memory, or a decoder "
    "crashed): repair it or make it smaller, or take it out of --input"
)


class Predicts(Protocol):
    """What a worker needs of a predictor. `RelationPredictor` is one."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes and predicates."""
        ...

    def stream(
        self, requests: Iterable[Any], *, batch_size: int, pad: bool, readers: int
    ) -> Iterator[Outcome]:
        """See `RelationPredictor.stream`."""
        ...


@dataclass(frozen=True)
class ShardOptions:
    """How graphs are made, and how they are cut into shards.

    Attributes:
        top_k, predicates_per_pair, score_threshold, entity_threshold: see `Prediction.to_dict`.
        batch_size, pad: see `RelationPredictor.stream`.
        shard_size: number of rows of a shard. A worker holds the graphs of one shard in memory.
        readers: threads that read and decode images while the model works.
    """

    top_k: int = 20
    predicates_per_pair: int = 1
    score_threshold: float = 0.1
    entity_threshold: float = 0.0
    batch_size: int = 1
    pad: bool = False
    shard_size: int = 100
    readers: int = 2


@dataclass(frozen=True)
class UnitReport:
    """What came of a unit.

    Attributes:
        rows: number of rows that this try has written.
        before: number of rows that were there before.
        shards: number of shards, of both kinds.
        replaced: number of shards that held other images, and were written again.
        errors: number of rows without a graph, of both kinds.
        named: path and reason of the first of them.
        seconds: how long it took.
    """

    rows: int = 0
    before: int = 0
    shards: int = 0
    replaced: int = 0
    errors: int = 0
    named: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


def add_reports(one: UnitReport, other: UnitReport) -> UnitReport:
    """What came of both; the first failed images are named."""
    return UnitReport(
        rows=one.rows + other.rows,
        before=one.before + other.before,
        shards=one.shards + other.shards,
        replaced=one.replaced + other.replaced,
        errors=one.errors + other.errors,
        named=(*one.named, *other.named)[:NAMED],
        seconds=one.seconds + other.seconds,
    )


def check_shards(output: Path, identity: Mapping[str, str]) -> None:
    """Checks that all shards of a folder are of this run. Only the end of each file is read.

    Args:
        output: output folder.
        identity: what the results of this run depend on.

    Raises:
        ValueError: a shard has results of another run, or other columns. The message names it. Damaged files
            are none of it: their images are predicted again.
    """
    for path in (output / SHARDS).glob(ShardFile.pattern):
        try:
            found = read_identity(path)
        except OtherShardError:
            raise
        except (FileNotFoundError, ValueError):
            continue
        _check_identity(found, identity, path)


def _check_identity(found: Mapping[str, str], identity: Mapping[str, str], path: Path) -> None:
    if different := differences(found, identity):
        more = f"; and {len(different) - _DIFFERENCES} more" if len(different) > _DIFFERENCES else ""
        raise ValueError(
            f"{path} has results of another run: {'; '.join(different[:_DIFFERENCES])}{more}. Choose another "
            "folder, or run without --resume and with --overwrite, which deletes them"
        )


@dataclass
class Rows:
    """Rows of a table of results.

    Attributes:
        encoded: number of a row -> the row, a `pyarrow.RecordBatch`.
        errors: number of a row -> path and reason of an image without a graph.
    """

    encoded: dict[int, Any] = field(default_factory=dict)
    errors: dict[int, tuple[str, str]] = field(default_factory=dict)

    def sorted(self) -> list[Any]:
        """The rows in the order of the input."""
        return [self.encoded[number] for number in sorted(self.encoded)]


class RowPredictor:
    """Makes a row of results of each row of an input. What is wrong with one image stops no other."""

    def __init__(self, predictor: Predicts, options: ShardOptions) -> None:
        """Takes a predictor, and how graphs are made."""
        self._predictor, self._options = predictor, options
        self._encoder = RowEncoder(predictor.vocabulary)

    def predict(self, rows: Iterable[InputRow], batch_size: int, excluded: Mapping[int, str]) -> Rows:
        """Predicts images.

        Args:
            rows: the images. They are taken when they are needed.
            batch_size: largest number of images of a batch.
            excluded: number of a row that is not predicted -> why.
        """
        found, asked = Rows(), list[ImageKey]()
        outcomes = self._predictor.stream(
            self._requests(rows, excluded, found, asked),
            batch_size=batch_size,
            pad=self._options.pad,
            readers=self._options.readers,
        )
        for outcome in outcomes:
            key = asked[outcome.position]
            try:
                self._add(key, outcome, found)
            # Whatever is wrong with one image must not stop the others.
            except Exception as error:
                self._fail(key, reason_of(key.path, error), found)
        return found

    def _requests(
        self, rows: Iterable[InputRow], excluded: Mapping[int, str], found: Rows, asked: list[ImageKey]
    ) -> Iterator[Request]:
        for row in rows:
            key = ImageKey(row.input, row.row, row.path, row.image_id)
            reason = excluded.get(row.row, row.error)
            if reason is not None or row.image is None:
                self._fail(key, reason or "has no image: check the input", found)
                continue
            asked.append(key)
            yield Request(row.image)

    def _add(self, key: ImageKey, outcome: Outcome, found: Rows) -> None:
        if outcome.prediction is None:
            self._fail(key, reason_of(key.path, outcome.error), found)
            return
        graph = outcome.prediction.to_dict(
            top_k=self._options.top_k,
            predicates_per_pair=self._options.predicates_per_pair,
            score_threshold=self._options.score_threshold,
            entity_threshold=self._options.entity_threshold,
        )
        found.encoded[key.row] = self._encoder.graph(key, graph)

    def _fail(self, key: ImageKey, reason: str, found: Rows) -> None:
        found.encoded[key.row] = self._encoder.error(key, reason)
        found.errors[key.row] = key.path, reason


class ShardWorker:
    """Predicts units and writes their shards."""

    def __init__(
        self,
        predictor: Predicts,
        reader: InputReader,
        output: Path,
        identity: Mapping[str, str],
        options: ShardOptions,
    ) -> None:
        """Touches nothing on the disk.

        Args:
            predictor: the predictor.
            reader: reads the units of the input.
            output: output folder, on a disk that all workers share.
            identity: what the results depend on.
            options: how graphs and shards are made.
        """
        self._reader, self._options, self._identity = reader, options, dict(identity)
        self._attempts, self._vocabulary = output / ATTEMPTS, predictor.vocabulary
        self._rows = RowPredictor(predictor, options)
        self._file = ShardFile()
        self._folder = ShardFolder(output / SHARDS, self._file)

    def work(self, unit: Unit) -> UnitReport:
        """Predicts the chunks of a unit that are not finished. The others are not even read.

        Raises:
            OSError: results can't be written, or the input can't be read any more.
            ValueError: the folder has a shard of another run, or reading the input takes workers down.
        """
        begin, report, rows = time.monotonic(), UnitReport(), _UnitRows(self._reader, unit)
        start = unit.first
        while unit.stop is None or start < unit.stop:
            stop = self._stop(unit, start)
            name = _name(unit.input, start)
            header = self._header(name)
            if header is not None and _is_of(header, rows, start, stop):
                found = tuple(header.errors)
                done = UnitReport(before=len(header.keys), shards=1, errors=len(found), named=found[:NAMED])
                is_end = header.ends_input
            else:
                done = self._write(name, rows, start, stop, is_new=header is None)
                is_end = not done.shards or (unit.stop is None and rows.first(stop) is None)
            report, start = add_reports(report, done), stop
            if is_end:
                break
        return add_reports(report, UnitReport(seconds=time.monotonic() - begin))

    def _stop(self, unit: Unit, start: int) -> int:
        """The row behind a chunk: chunks end at multiples of their size, and at the end of the unit."""
        aligned = (start // self._options.shard_size + 1) * self._options.shard_size
        return aligned if unit.stop is None else min(aligned, unit.stop)

    def _header(self, name: str) -> PartHeader | None:
        """What a shard says; None if there is none, or a damaged one."""
        path = self._folder.path / name
        try:
            header = self._file.read_header(path)
        except FileNotFoundError:
            return None
        except OtherShardError:
            raise
        except ValueError as error:
            logger.warning("%s; its images are predicted again", error)
            return None
        _check_identity(header.identity, self._identity, path)
        return header

    def _write(self, name: str, rows: "_UnitRows", start: int, stop: int, *, is_new: bool) -> UnitReport:
        """Predicts a chunk and writes its shard. Without rows there is none.

        After some deaths of workers its images are tried alone, and then together without those that take a
        worker down. Where they still do so together, each alone is the answer.
        """
        attempts = Attempts(self._attempts / f"{Path(name).stem}.json")
        excluded = dict[int, str]()
        chunk: Iterable[InputRow] = rows.between(start, stop)
        found: Rows | None = None
        if attempts.whole >= DEATHS:
            chunk, found, excluded = self._each_alone(rows, start, stop, attempts)
            if self._options.batch_size > 1 and attempts.whole < 2 * DEATHS:
                found = None
        if found is None:
            with attempts.at_all():
                found = self._rows.predict(chunk, self._options.batch_size, excluded)
                self._write_file(name, found, rows, stop)
        else:
            # Writing reads the next row, to know whether there is one.
            with self._attempt(stop, rows, attempts):
                self._write_file(name, found, rows, stop)
        attempts.end()
        named = tuple(found.errors[number] for number in sorted(found.errors))
        return UnitReport(
            rows=len(found.encoded),
            shards=int(bool(found.encoded)),
            replaced=int(not is_new),
            errors=len(named),
            named=named[:NAMED],
        )

    def _write_file(self, name: str, found: Rows, rows: "_UnitRows", stop: int) -> None:
        if found.encoded:
            ends_input = rows.unit.stop is None and rows.first(stop) is None
            with self._folder.write(name) as file:
                self._file.write(
                    file,
                    found.sorted(),
                    self._identity,
                    self._vocabulary,
                    ends_input=ends_input,
                    input_state=rows.state,
                )

    def _each_alone(
        self, rows: "_UnitRows", start: int, stop: int, attempts: Attempts
    ) -> tuple[list[InputRow], Rows, dict[int, str]]:
        """Tries the images of a chunk one by one.

        Returns:
            The rows of the input; the results; and the rows that took workers down, with the reason.

        Raises:
            ValueError: the input can't be read over a row, because reading it takes workers down.
        """
        read, found, excluded = list[InputRow](), Rows(), dict[int, str]()
        for number in range(start, stop):
            with self._attempt(number, rows, attempts) as deaths:
                row = next(rows.between(number, stop), None)
                if row is None:
                    break
                read.append(row)
                if deaths == DEATHS:
                    excluded[number] = _TOOK_DOWN
                alone = self._rows.predict([row], 1, excluded)
                found.encoded |= alone.encoded
                found.errors |= alone.errors
        return read, found, excluded

    @staticmethod
    @contextmanager
    def _attempt(number: int, rows: "_UnitRows", attempts: Attempts) -> Iterator[int]:
        """Counts an attempt at a row alone. Its value is the number of workers that have died with the row.

        Raises:
            ValueError: so many have died that reading the row must be what ends them.
        """
        with attempts.at(number):
            deaths = attempts.rows[number] - 1
            if deaths > DEATHS:
                raise ValueError(
                    f"{rows.unit.input or 'the input'}: reading row {number} (from 0) took the worker down "
                    f"{deaths} times: take this row out"
                )
            yield deaths


class _UnitRows:
    """The rows of a unit, which is opened when its first row is needed.

    Attributes:
        unit: the unit.
        state: see `InputReader.state`.
    """

    def __init__(self, reader: InputReader, unit: Unit) -> None:
        self.unit, self.state, self._reader = unit, reader.state(unit), reader
        self._rows: Iterator[InputRow] | None = None
        self._next: InputRow | None = None

    def first(self, start: int) -> InputRow | None:
        """The first row with this number or a higher one. It is not taken. None: there is none."""
        if self._rows is None:
            self._rows = iter(self._reader.rows(self.unit))
            self._next = next(self._rows, None)
        while self._next is not None and self._next.row < start:
            self._next = next(self._rows, None)
        return self._next

    def between(self, start: int, stop: int) -> Iterator[InputRow]:
        """Takes the rows from one number on, up to another one."""
        while (row := self.first(start)) is not None and row.row < stop:
            start = row.row + 1
            yield row


def _name(source: str, start: int) -> str:
    """The name of the shard of an input that begins with this row."""
    # Names of inputs may be long and hold any sign.
    digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:16]
    return f"part-{digest}-{start:012}.parquet"


def _is_of(header: PartHeader, rows: _UnitRows, start: int, stop: int) -> bool:
    """Whether a shard has exactly the rows of a chunk, as far as anybody knows them without reading."""
    unit = rows.unit
    if header.input_state and rows.state and header.input_state != rows.state:
        return False
    end = start + len(header.keys) if header.ends_input and unit.stop is None else stop
    numbers = range(start, end)
    if [tuple(key[:2]) for key in header.keys] != [(storable(unit.input), number) for number in numbers]:
        return False
    if not unit.paths:
        return end <= stop
    paths = [storable(unit.paths[number - unit.first]) for number in numbers]
    return [key[2] for key in header.keys] == paths
