"""`reldn predict --format shards`: a table of very many images, written by any number of workers."""

import copy
import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Any

import torch.multiprocessing as mp
from detectron2.utils import comm
from torch.multiprocessing.spawn import ProcessExitedException

from reldn_d2.data.sources import Source, open_source
from reldn_d2.engine import (
    RelationPredictor,
    RunParts,
    override_config,
    parts_of,
    set_up_process,
    setup_console,
)
from reldn_d2.engine.folder_lock import hold, release
from reldn_d2.engine.parts import Config
from reldn_d2.engine.prediction.shard_job import ShardJob
from reldn_d2.engine.prediction.shard_worker import (
    ATTEMPTS,
    SHARDS,
    ShardOptions,
    ShardWorker,
    UnitReport,
    add_reports,
    check_shards,
)
from reldn_d2.renamed import OLD_KEYS
from reldn_d2.scene_graphs import FORMATS
from reldn_d2.scene_graphs.formats.shards import ShardFile
from reldn_d2.utils.counted import counted
from reldn_d2.utils.extras import import_extra
from reldn_d2.utils.inner_paths import refuse_outside_links
from reldn_d2.utils.plain_text import say, visible
from reldn_d2.utils.progress import progress
from reldn_d2.utils.shards import ShardFolder
from reldn_d2.utils.system_errors import extended

from ..common import FINISHED, PROBLEMS, InterruptedByUserError, how_ended, launched, near_keys
from .formats import ShardParts
from .identity import result_identity, sample_of
from .places import RECORD
from .record import Record

# How many failures the screen shows; the table has all.
_SHOWN = 20

#: Runs the workers until all images have a row: (input, what workers are told, predictor, where reports go).
Engine = Callable[[Source, ShardJob, RelationPredictor, "Total"], None]


def predict_shards(args: Namespace, cfg: Config) -> int:
    """Predicts all images of the input that are in no shard yet. Returns the exit status.

    Args:
        args: parsed options.
        cfg: config with weights.

    Raises:
        ValueError, OSError: something can't be used; or see the workers.
        InterruptedByUserError: the user pressed Ctrl-C.
    """
    parts = parts_of(cfg)
    FORMATS["shards"].check_installed()
    keys = {*parts.settings(), *OLD_KEYS}
    source = open_source(
        args.input or sample_of(args.weights),
        args.output,
        lambda word: near_keys(word, keys),
        image_column=args.image_column,
        id_column=args.id_column,
    )
    refuse_outside_links(
        args.output, [RECORD, SHARDS, ATTEMPTS], "delete it, or choose another folder with --output"
    )
    predictor = RelationPredictor(_config_here(args, cfg))
    job = ShardJob(
        cfg=_config_there(cfg),
        reader=source.reader,
        output=args.output.absolute(),
        identity=_identity(parts, predictor, args),
        options=_options(args),
        modules=tuple(os.path.abspath(x) if x.endswith(".py") else x for x in args.modules),
    )
    output, total = ShardParts(args.output), Total(args)
    with _engine(args, parts) as run:
        hold(parts, "prediction")
        try:
            record = Record(
                args.output, job.identity, {"shards": output}, resume=args.resume, overwrite=args.overwrite
            )
            if args.resume:
                check_shards(args.output, job.identity)
            record.begin({})
            try:
                with total.explaining():
                    run(source, job, predictor, total)
            finally:
                record.close()
            output.delete_attempts()
        finally:
            release("prediction")
    return total.say(source)


def _identity(parts: RunParts, predictor: RelationPredictor, args: Namespace) -> dict[str, str]:
    options = ("shard_size", "image_column", "id_column")
    return {
        **result_identity(parts, predictor.model, args),
        **{f"--{name.replace('_', '-')}": f"{getattr(args, name)}" for name in options},
    }


def _options(args: Namespace) -> ShardOptions:
    return ShardOptions(
        top_k=args.top_k,
        predicates_per_pair=args.predicates_per_pair,
        score_threshold=args.score_threshold,
        entity_threshold=args.entity_threshold,
        batch_size=args.batch_size,
        pad=args.pad,
        shard_size=args.shard_size,
    )


def _config_here(args: Namespace, cfg: Config) -> Config:
    """The config of the predictor of this process. Where others predict, it needs no GPU."""
    if args.engine == "local" and args.num_gpus == 1:
        return cfg
    parts = parts_of(cfg)
    here = copy.deepcopy(cfg)
    override_config(here, parts.override(parts.keys.device, "cpu"), "--engine")
    return here


def _config_there(cfg: Config) -> Config:
    """The config of the workers, which may have another working directory."""
    parts = parts_of(cfg)
    if not os.path.isfile(parts.weights.partition("?")[0]):
        return cfg  # an address
    there = copy.deepcopy(cfg)
    override_config(there, parts.override(parts.keys.weights, os.path.abspath(parts.weights)), "--weights")
    return there


@contextmanager
def _engine(args: Namespace, parts: RunParts) -> Iterator[Engine]:
    """What runs the workers. It is ready before anything is written."""
    if args.engine == "local":
        yield _predict_here if args.num_gpus == 1 else partial(_predict_in_processes, args)
        return
    pipeline = import_extra("ray.data", "ray", "for --engine ray") and _pipeline()
    gpus = float(parts.device.startswith("cuda")) if args.worker_gpus is None else args.worker_gpus
    workers = pipeline.Workers(
        *args.workers,
        cpus=args.worker_cpus,
        gpus=gpus,
        memory=None if args.worker_memory is None else int(args.worker_memory * 2**30),
    )
    with pipeline.cluster(args.address, workers):
        yield lambda source, job, _, total: total.take(pipeline.predict_with_ray(source, job, workers))


def _pipeline() -> Any:
    # It imports Ray, which is not always installed.
    from reldn_d2.engine.prediction import ray_pipeline

    return ray_pipeline


def _predict_here(source: Source, job: ShardJob, predictor: RelationPredictor, total: "Total") -> None:
    worker = ShardWorker(predictor, job.reader, job.output, job.identity, job.options)
    total.take(map(worker.work, source.units(job.options.shard_size)))


def _predict_in_processes(
    args: Namespace, source: Source, job: ShardJob, _: RelationPredictor, total: "Total"
) -> None:
    """Predicts in several processes of this machine. Each takes every n-th unit."""
    reports = mp.get_context("spawn").SimpleQueue()
    there = Namespace(
        num_gpus=args.num_gpus, num_machines=1, machine_rank=0, dist_url="auto",
        source=source, job=job, reports=reports,
    )  # fmt: skip
    # The queue is a pipe: it has to be emptied while the processes run.
    counting = Thread(target=total.take, args=(iter(reports.get, None),))
    counting.start()
    try:
        launched(_work, there)
    except ProcessExitedException as error:
        raise ValueError(
            f"process {error.error_index} of {args.num_gpus} {how_ended(error)}. Finished images are kept: "
            "the same command with --resume goes on. An image that takes a process down again gets an error"
        ) from error
    finally:
        reports.put(None)
        counting.join()


def _work(args: Namespace) -> None:
    """The work of one of several processes."""
    setup_console()
    job: ShardJob = args.job
    set_up_process(parts_of(job.cfg))
    worker, rank, number = job.worker(), comm.get_rank(), comm.get_world_size()
    for place, unit in enumerate(args.source.units(job.options.shard_size)):
        if place % number == rank:
            args.reports.put(worker.work(unit))


class Total:
    """What came of all units.

    Attributes:
        report: the sum of the reports so far.
    """

    def __init__(self, args: Namespace) -> None:
        self._args, self.report = args, UnitReport()

    def take(self, reports: Iterable[UnitReport]) -> None:
        """Adds reports as they come, and shows how many images are done."""
        for _ in progress(self._images(reports), "images"):
            pass

    def _images(self, reports: Iterable[UnitReport]) -> Iterator[int]:
        for report in reports:
            self.report = add_reports(self.report, report)
            yield from range(report.rows + report.before)

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Adds to Ctrl-C and to errors of the system how many images are done."""
        try:
            yield
        except KeyboardInterrupt:
            raise InterruptedByUserError(f"{self._done()}, and --resume goes on with the others") from None
        except OSError as error:
            raise extended(error, f"{self._done()}; --resume goes on with the others") from error

    def _done(self) -> str:
        # Workers may have written more than they have reported.
        images = counted(self.report.rows + self.report.before, "image has", "images have")
        return f"at least {images} a row in {self._args.output / SHARDS}"

    def say(self, source: Source) -> int:
        """Says what was done, and what failed. Returns the exit status."""
        found, folder = self.report, self._args.output / SHARDS
        images = found.rows + found.before
        before = f" ({found.before} of them before)" if found.before else ""
        say(
            f"predicted the scene graphs of {images - found.errors} of {images} images{before}; the results "
            f"are in {visible(str(folder))}"
        )
        if found.replaced:
            shards = counted(found.replaced, "shard was", "shards were")
            say(f"{shards} written again, because the input has other images now")
        others = len(ShardFolder(folder, ShardFile()).paths()) - found.shards
        if others > 0:
            shards = counted(others, "more shard there has", "more shards there have")
            say(
                f"{shards} images that --input does not name any more, or that are in another shard now: "
                "without --resume, these rows are deleted first"
            )
        if found.errors:
            images_without = counted(found.errors, "image has", "images have")
            say(f"{images_without} no graph; the column `error` of the table says why")
        failures = [*((str(path), reason) for path, reason in source.unreadable.items()), *found.named]
        for image, reason in failures[:_SHOWN]:
            say(visible(f"{image} {reason}"), error=True)
        number = found.errors + len(source.unreadable)
        if number > _SHOWN:
            say(f"and {number - _SHOWN} more", error=True)
        return PROBLEMS if number else FINISHED
