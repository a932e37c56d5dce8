"""Prediction of large inputs on Ray Data: on the cores of one machine, or on a cluster.

`predict_with_ray` writes shards, as `reldn predict --engine ray` does. `RelDNActor` is a stage for somebody's
own pipeline. This module needs the package ray, and is imported by who uses it alone.
"""

import logging
import os
import pickle
import socket
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import torch
from ray.data import ActorPoolStrategy, DataContext, Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask
from ray.exceptions import RayError

from reldn_d2.data.sources import InputRow, Source
from reldn_d2.scene_graphs.formats.shards import row_schema

from ..parts import Config
from .attempts import Attempts
from .predictor import RelationPredictor
from .shard_job import ShardJob
from .shard_worker import ATTEMPTS, RowPredictor, ShardOptions, ShardWorker, UnitReport

logger = logging.getLogger(__name__)

# Only units and reports, of some hundred bytes each, go through the object store.
_OBJECT_STORE = 200 * 2**20
# Seconds to wait for an answer of a cluster. Ray itself waits for two minutes.
_PATIENCE = 10.0
# How often Ray tries to join a cluster, for 40 seconds each: `auto` may find one that died, and 20 is usual.
_TRIES = "RAY_gcs_server_port_wait_time_s"
# Clusters speak gRPC, so HTTP/2: both sides begin with a frame of settings, whose fourth byte is its type.
_HEAD, _TYPE, _SETTINGS = 9, 3, 4
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0))
# So many workers in a row may die while they load the model: more are no accident.
_DEATHS_AT_START = 3
# The columns that `RelDNActor` adds.
_ADDED = ("width", "height", "error", "entities", "relationships")
# How many units wait at a worker, so that it need not wait for the next.
_WAITING_UNITS = 2


@dataclass(frozen=True)
class Workers:
    """The workers of a pipeline, each with a model of its own.

    Attributes:
        smallest, largest: bounds of their number; Ray starts more while there is work and room.
        cpus: CPU cores of each. Its model computes with so many threads, at least one.
        gpus: GPUs of each; a part of one, such as 0.5, lets several share it.
        memory: bytes that each needs, as Ray counts them; None: they are not counted.
    """

    smallest: int = 1
    largest: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    memory: int | None = None


@contextmanager
def cluster(address: str | None, workers: Workers) -> Iterator[None]:
    """Joins a cluster, or starts one on this machine, and leaves or stops it at the end.

    Args:
        address: HOST:PORT of a cluster's head, or "auto" for the one that runs on this machine; None: what
            RAY_ADDRESS says, else a cluster is started.
        workers: what there must be room for.

    Raises:
        ValueError: no cluster is there, or none of its nodes has room for one worker.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if "://" in address:
        raise ValueError(
            f"--address {address}: the address of Ray's client is not used here. Run the command on a "
            "machine of the cluster, with --address auto, or submit it as a Ray job"
        )
    if address not in ("auto", "local"):
        _check_port(address)
    # Ray would give its workers the lowest share of the processor.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # They say that they start and end, and that there are no bars of progress.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    own: dict[str, Any] = (
        {"object_store_memory": _OBJECT_STORE, "include_dashboard": False} if address == "local" else {}
    )
    joined = ray.is_initialized()
    if not joined:
        tries = os.environ.get(_TRIES)
        if address != "local":
            os.environ[_TRIES] = tries or "1"
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
        except (ConnectionError, RayError, RuntimeError) as error:
            raise ValueError(
                f"--address {address}: no cluster that can be joined ({error}): start one with "
                "`ray start --head`, or leave --address out, which starts one for this command"
            ) from error
        finally:
            if tries is None:
                os.environ.pop(_TRIES, None)
    try:
        _check_room(workers)
        yield
    finally:
        if not joined:
            ray.shutdown()


def _check_port(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"--address {address}: give HOST:PORT of the cluster's head, or auto")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _PATIENCE) as connection:
            _check_protocol(connection)
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"--address {address}: no cluster answers there ({error}): check the address and the port (Ray's "
            "is 6379), or start one with `ray start --head`"
        ) from error


def _check_protocol(connection: socket.socket) -> None:
    """Checks that the other side speaks as a cluster does. Ray itself would ask any other for minutes.

    Raises:
        OSError: it does not.
    """
    if os.environ.get("RAY_USE_TLS", "0") != "0":
        return  # what is said is encrypted
    connection.settimeout(_PATIENCE)
    connection.sendall(_GREETING)
    if connection.recv(_HEAD, socket.MSG_WAITALL)[_TYPE : _TYPE + 1] != bytes([_SETTINGS]):
        raise OSError("what answers is no cluster of Ray")


def _check_room(workers: Workers) -> None:
    """Checks that one node has room for a worker, before anything is read."""
    needed = {"CPU": workers.cpus, "GPU": workers.gpus, "memory": float(workers.memory or 0)}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if any(all(node.get(name, 0) >= number for name, number in needed.items()) for node in nodes):
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        if any(free.get(name, 0) < number for name, number in needed.items()):
            logger.warning("the cluster is busy (free are %s): this waits for room", _in_words(free))
        return
    raise ValueError(
        f"no node of the cluster has room for one worker, which needs {_in_words(needed)}. The nodes have: "
        f"{'; '.join(map(_in_words, nodes)) or 'nothing'}. Give less to --worker-cpus, --worker-gpus or "
        "--worker-memory, or add a node"
    )


def _in_words(resources: dict[str, float]) -> str:
    gigabytes = resources.get("memory", 0) / 2**30
    cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    return f"{cpus:g} CPUs, {gpus:g} GPUs and {gigabytes:.1f} GiB of memory"


def predict_with_ray(source: Source, job: ShardJob, workers: Workers) -> Iterator[UnitReport]:
    """Predicts all images of a job that are in no shard yet, on the cluster that this process has joined.

    Ray starts dead workers again and repeats their units, as often as needed. What ends this is the count of
    attempts at an image, see `attempts`: an image that takes workers down gets an error.

    Args:
        source: the input.
        job: what the workers are told.
        workers: the workers.

    Yields:
        A report for each unit, in any order.

    Raises:
        OSError, ValueError: a worker can't read the input, load the weights or write results; or Ray can't
            go on, for example because workers die while they load the model.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_consecutive_actor_init_deaths = _DEATHS_AT_START
    # Each unit becomes a block, so that it is a task of its own, and few are made ahead of the workers.
    context.target_max_block_size = 1
    with DataContext.current(context):
        units = ray.data.read_datasource(
            # Listing the units takes no core from the workers.
            _Units(source, job.options.shard_size), num_cpus=0, override_num_blocks=1
        )  # fmt: skip
        reports = units.map_batches(
            _UnitActor,
            fn_constructor_args=(job, workers.cpus),
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(
                min_size=workers.smallest,
                max_size=workers.largest,
                max_tasks_in_flight_per_actor=_WAITING_UNITS,
            ),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
            memory=workers.memory,
        )
        try:
            for row in reports.iter_rows():
                report = pickle.loads(row["report"])
                if isinstance(report, Exception):
                    raise report
                yield report
        except RayError as error:
            *_, last = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(
                f"Ray can't go on ({last}; --verbose shows all of it). Finished images are kept: the same "
                "command with --resume goes on"
            ) from error


class _Units(Datasource):
    """The units of an input. One task lists them while the workers take them, so never all are there."""

    def __init__(self, source: Source, size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._source, self._size = source, size

    def estimate_inmemory_data_size(self) -> int | None:
        """The size is not known."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """The task that lists the units."""
        task = partial(_tables_of_units, self._source, self._size)
        return [ReadTask(task, BlockMetadata(None, None, None, None))]


def _tables_of_units(source: Source, size: int) -> Iterator[pa.Table]:
    try:
        for unit in source.units(size):
            # Pickled, because names of files may hold bytes that no text of Arrow holds.
            yield pa.table({"unit": [pickle.dumps(unit)]})
    except (OSError, ValueError) as error:
        # A worker passes it on.
        yield pa.table({"unit": [pickle.dumps(error)]})


class _UnitActor:
    """Reads, decodes and predicts the images of units, and writes their shards.

    Pixels and graphs do not go through Ray's object store: an image is some megabytes when it is decoded, and
    would be copied there, maybe to another machine or to the disk, to be read once.
    """

    def __init__(self, job: ShardJob, cpus: float) -> None:
        torch.set_num_threads(max(1, int(cpus)))
        self._error: Exception | None = None
        try:
            self._worker = _loaded(job)
        except Exception as error:
            self._error = _passed_on(error)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The report of a unit, or the error that ends the command. Ray would wrap it into a traceback."""
        (content,) = batch.column("unit").to_pylist()
        report: UnitReport | Exception
        try:
            if self._error is not None:
                raise self._error
            unit = pickle.loads(content)
            if isinstance(unit, Exception):
                raise unit
            report = self._worker.work(unit)
        except Exception as error:
            report = _passed_on(error)
        return pa.table({"report": [pickle.dumps(report)]})


def _loaded(job: ShardJob) -> ShardWorker:
    """Loads the model. Ray starts a worker that dies meanwhile again without end, so deaths are counted here.

    Raises:
        ValueError: so many have died that loading must be what ends them; or see `ShardJob.worker`.
    """
    context = ray.get_runtime_context()
    if not context.was_current_actor_reconstructed:
        return job.worker()
    # A worker that is started again keeps its id. The first death of all is not in the count.
    deaths = Attempts(job.output / ATTEMPTS / f"start-{context.get_actor_id()}.json")
    if deaths.whole >= _DEATHS_AT_START:
        deaths.end()
        raise ValueError(
            f"a worker died {deaths.whole + 1} times while it loaded the model (the system ended it, such as "
            "for want of memory, or code of --import crashed): give it more memory, or start fewer workers"
        )
    with deaths.at_all():
        worker = job.worker()
    deaths.end()
    return worker


def _passed_on(error: Exception) -> Exception:
    """An error of a worker as the command raises it."""
    if isinstance(error, OSError | ValueError):
        return error
    made = ValueError(f"a worker failed ({type(error).__name__}: {error}; --verbose shows where)")
    # Pickling keeps notes, and no traceback.
    made.add_note(traceback.format_exc())
    return made


class RelDNActor:
    """A stage of a pipeline of Ray Data: adds the scene graphs to rows with images.

    The rows get the columns `width`, `height`, `error`, `entities` and `relationships` of the shards
    (docs/scale.md); their other columns stay. What is wrong with an image is in `error`, and stops no other.

    Example::

        images = ray.data.read_parquet("s3://bucket/images")  # with a column of paths, or of encoded bytes
        graphs = images.map_batches(
            RelDNActor,
            fn_constructor_kwargs={"model": "scenes-tiny", "image_column": "bytes"},
            batch_size=32,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=8),
            num_gpus=1,
        )
        graphs.write_parquet("s3://bucket/graphs")
    """

    def __init__(
        self,
        model: str | Path | Config,
        image_column: str,
        options: ShardOptions | None = None,
        device: str | None = None,
    ) -> None:
        """Loads the model.

        Args:
            model: what `RelationPredictor.from_pretrained` takes, or a config with weights.
            image_column: column with paths of local files, or with encoded pictures.
            options: how graphs are made; its `shard_size` is not used.
            device: see `RelationPredictor.from_pretrained`.

        Raises:
            OSError, ValueError: see `RelationPredictor`.
        """
        predictor = (
            RelationPredictor.from_pretrained(model, device=device)
            if isinstance(model, str | os.PathLike)
            else RelationPredictor(model)
        )
        self._options, self._column = options or ShardOptions(), image_column
        self._rows = RowPredictor(predictor, self._options)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Adds the columns.

        Args:
            batch: the rows, as `batch_format="pyarrow"` gives them.

        Raises:
            ValueError: there is no such column, or the rows have one of the columns that are added.
        """
        columns = batch.column_names
        if self._column not in columns:
            raise ValueError(f"there is no column {self._column!r}: the columns are {', '.join(columns)}")
        if taken := [name for name in _ADDED if name in columns]:
            raise ValueError(f"the rows have {', '.join(taken)} already: rename or drop these columns before")
        found = self._rows.predict(self._images(batch), self._options.batch_size, {}).sorted()
        table = pa.Table.from_batches(found, schema=row_schema())
        for name in _ADDED:
            batch = batch.append_column(table.schema.field(name), table.column(name))
        return batch

    def _images(self, batch: pa.Table) -> Iterable[InputRow]:
        for number, image in enumerate(batch.column(self._column).to_pylist()):
            name = image if isinstance(image, str) else f"row {number}"
            yield InputRow("", number, name, None, image, "has no image" if image is None else None)
