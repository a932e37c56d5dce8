"""Makes a resumed training end exactly as one that was never interrupted."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.engine import hooks
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from reldn_d2.data import ResumableTrainLoader
from reldn_d2.utils.random_numbers import mixed_seed, seed_generators

from .best_checkpoint import KeepBest

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"
# The last values of each scalar from which Detectron2's writers take a median.
_WINDOW = 20
# What runs behind the checkpoint in a step, so a checkpoint does not say whether it was done.
_BEHIND_THE_CHECKPOINT = (hooks.EvalHook, KeepBest, hooks.PeriodicWriter)


class ExactResume(hooks.HookBase):
    """Continues the data, the random numbers and the metrics of a resumed training. The last hook.

    * The random numbers of a step follow from the seed, the step and the process.
    * The data loader goes on with the next batch, see `ResumableTrainLoader`.
    * What was due in the step of the checkpoint, such as an evaluation, is done if it was not finished.
    * `metrics.json` has each step once.

    A training with another seed or another number of processes draws the images in a new order, and says so.
    """

    def __init__(self, seed: int, output_dir: str) -> None:
        """Prepares a training from its beginning.

        Args:
            seed: seed of the config. Negative: it is drawn from NumPy's generator as in Detectron2's sampler,
                the same for all processes.
            output_dir: folder of the run.
        """
        self._given = seed if seed >= 0 else None
        self._seed = comm.shared_random_seed() if self._given is None else self._given
        self._metrics = Path(output_dir, METRICS_FILE)
        self._saved: Mapping[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The seed, the number of processes, and the states of the data loader and of the metrics."""
        loader = self._loader()
        storage: EventStorage | None = getattr(self.trainer, "storage", None)
        return {
            "seed": self._seed,
            "processes": comm.get_world_size(),
            "loader": None if loader is None else loader.state_dict(),
            "scalars": {} if storage is None else _last_scalars(storage),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Keeps the state of a checkpoint until the training begins."""
        self._saved = state

    def before_train(self) -> None:
        """Goes to where the checkpoint was written, if the training is resumed."""
        loader, done = self._loader(), self.trainer.start_iter
        if not done:
            if loader is not None:
                loader.seed = self._seed
            return
        self._continue_data(loader, done)
        written = drop_metrics(self._metrics, from_iteration=done) if comm.is_main_process() else -1
        written = comm.all_gather(written)[0]
        if self._saved is not None:
            _restore_scalars(self.trainer.storage, self._saved["scalars"], written)
        if written < done - 1:  # the writers are the last in a step
            self._finish_step(done - 1)
        if done >= self.trainer.max_iter:
            # No step follows. Detectron2 counts from the last one.
            self.trainer.iter = done - 1

    def before_step(self) -> None:
        """Seeds the random numbers of the step."""
        seed_generators(mixed_seed(self._seed, self.trainer.iter, comm.get_rank()))

    def _loader(self) -> ResumableTrainLoader | None:
        inner = getattr(self.trainer, "_trainer", self.trainer)
        loader = getattr(inner, "data_loader", None)
        return loader if isinstance(loader, ResumableTrainLoader) else None

    def _continue_data(self, loader: ResumableTrainLoader | None, done: int) -> None:
        """Goes to the next batch; or, if the training draws other random numbers, to another order."""
        saved = self._saved
        change = _change(saved, self._given)
        if saved is not None and self._given is None:
            self._seed = saved["seed"]
        if loader is None:
            logger.warning(
                "The data loader of this training is not of reldn_d2.data.build_resumable_train_loader, so "
                "it begins anew: the training may see other images than without an interruption"
            )
        elif change:
            logger.warning("%s: from iteration %d on, images are drawn in a new order", change, done)
            loader.start_anew(mixed_seed(self._seed, done))
        else:
            assert saved is not None
            loader.load_state_dict(saved["loader"])

    def _finish_step(self, step: int) -> None:
        """Runs the hooks behind the checkpoint, as in the step that wrote it."""
        trainer = self.trainer
        trainer.iter = trainer.storage.iter = step
        for hook in trainer._hooks:
            if isinstance(hook, _BEHIND_THE_CHECKPOINT):
                hook.after_step()
        trainer.iter = trainer.storage.iter = step + 1


def _change(saved: Mapping[str, Any] | None, seed: int | None) -> str:
    """What differs from the training that wrote a checkpoint; empty if it can be continued exactly."""
    if saved is None or saved["loader"] is None:
        return "The checkpoint does not say which images its training has seen"
    processes = comm.get_world_size()
    if saved["processes"] != processes:
        return f"The training had {saved['processes']} processes and has {processes} now"
    if seed is not None and saved["seed"] != seed:
        return f"The training had the seed {saved['seed']} and has {seed} now"
    return ""


def _last_scalars(storage: EventStorage) -> dict[str, Any]:
    """The last values of all scalars: name -> (whether it is smoothed, [(value, iteration), ...])."""
    smoothed = storage.smoothing_hints()
    return {
        name: (bool(smoothed[name]), [(float(x), int(i)) for x, i in history.values()[-_WINDOW:]])
        for name, history in storage.histories().items()
    }


def _restore_scalars(storage: EventStorage, scalars: Mapping[str, Any], written: int) -> None:
    """Puts the saved values into a new storage.

    Args:
        storage: the storage of the training.
        scalars: see `_last_scalars`.
        written: last iteration in the metrics file. What it has already is not written again.
    """
    for name, (smoothed, values) in scalars.items():
        for value, iteration in values:
            storage.put_scalar(name, value, smoothing_hint=smoothed, cur_iter=iteration)
    latest = storage.latest()
    for name in [name for name, (_, iteration) in latest.items() if iteration <= written]:
        del latest[name]


def drop_metrics(file: Path, *, from_iteration: int) -> int:
    """Removes the end of a metrics file, from the first line of an iteration or of a later one.

    A last line that is not complete is removed, too. The writers of the training have the file open to append
    to it, so it is cut and not replaced.

    Args:
        file: `metrics.json` of Detectron2, one JSON object a line. It may be missing.
        from_iteration: first iteration that is removed.

    Returns:
        The iteration of the last line that stays; -1 if none stays.
    """
    if not file.is_file():
        return -1
    kept, last = 0, -1
    with file.open("rb") as stream:
        for line in stream:
            try:
                iteration = json.loads(line)["iteration"]
            except (ValueError, KeyError, TypeError):
                break
            if iteration >= from_iteration or not line.endswith(b"\n"):
                break
            kept, last = kept + len(line), iteration
    if kept < file.stat().st_size:
        os.truncate(file, kept)
    return last
