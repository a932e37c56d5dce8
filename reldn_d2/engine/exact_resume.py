"""Makes a resumed training end exactly as one that was never interrupted."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.engine import hooks
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, JSONWriter, TensorboardXWriter

from reldn_d2.data import ResumableTrainLoader
from reldn_d2.utils.random_numbers import mixed_seed, seed_generators

from .best_checkpoint import KeepBest

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"
# The last values of each scalar from which Detectron2's writers take a median.
_WINDOW = 20


class ExactResume(hooks.HookBase):
    """Continues the data, the random numbers and the metrics of a resumed training.

    It stands behind the hooks that evaluate and keep the best checkpoint, and before the writers.

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
        #: Whether a training that has no checkpoint yet goes on an earlier try.
        self.resumes = False

    def state_dict(self) -> dict[str, Any]:
        """The seed, the numbers of processes and steps, and the states of the data loader and the metrics."""
        loader = self._loader()
        storage: EventStorage | None = getattr(self.trainer, "storage", None)
        return {
            "seed": self._seed,
            "processes": comm.get_world_size(),
            "max_iter": self.trainer.max_iter,
            "loader": None if loader is None else loader.state_dict(),
            "scalars": {} if storage is None else _last_scalars(storage),
            "metrics": {
                "size": self._metrics.stat().st_size if self._metrics.is_file() else 0,
                "last_write": max((x._last_write for x in self._writers()), default=-1),
            },
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
            if self.resumes and comm.is_main_process():
                cut_metrics(self._metrics, 0)
            return
        self._continue_data(loader, done)
        if self._saved is not None:
            self._continue_metrics(self._saved)
            self._finish_step(done - 1, self._saved["max_iter"])
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
            if saved is not None and saved["loader"] is not None:
                loader.load_state_dict(saved["loader"])  # a random subset of the images stays the same
            loader.start_anew(mixed_seed(self._seed, done))
        else:
            assert saved is not None
            loader.load_state_dict(saved["loader"])

    def _writers(self) -> list[Any]:
        """The writers of this process that remember up to which iteration they have written."""
        writers = [
            x for hook in self.trainer._hooks if isinstance(hook, hooks.PeriodicWriter) for x in hook._writers
        ]
        return [writer for writer in writers if isinstance(writer, JSONWriter | TensorboardXWriter)]

    def _continue_metrics(self, saved: Mapping[str, Any]) -> None:
        """Goes to where the writers were. What they wrote behind the checkpoint is written once more."""
        storage: EventStorage = self.trainer.storage
        for name, (smoothed, values) in saved["scalars"].items():
            for value, iteration in values:
                storage.put_scalar(name, value, smoothing_hint=smoothed, cur_iter=iteration)
        if comm.is_main_process():
            cut_metrics(self._metrics, saved["metrics"]["size"])
        for writer in self._writers():
            writer._last_write = saved["metrics"]["last_write"]

    def _finish_step(self, step: int, length: int) -> None:
        """Runs what stands behind the checkpoint in a step: a checkpoint does not say whether it was done.

        Args:
            step: the step that wrote the checkpoint.
            length: number of steps of the training that wrote it.
        """
        trainer, longest = self.trainer, self.trainer.max_iter
        trainer.iter = trainer.storage.iter = step
        for hook in trainer._hooks:
            if isinstance(hook, hooks.PeriodicCheckpointer) and step + 1 >= longest:
                _save_final(hook, step)
            if isinstance(hook, hooks.EvalHook | KeepBest):
                hook.after_step()
        # The last step of a training that is made longer was written, though it is not the last one now.
        trainer.max_iter = min(length, longest)
        for hook in trainer._hooks:
            if isinstance(hook, hooks.PeriodicWriter):
                hook.after_step()
        trainer.max_iter = longest
        trainer.iter = trainer.storage.iter = step + 1


def _save_final(hook: hooks.PeriodicCheckpointer, step: int) -> None:
    """Saves the final weights if a kill came between the last periodic checkpoint and them."""
    name = f"{hook.file_prefix}_final"
    if Path(hook.checkpointer.get_checkpoint_file()).stem != name:
        hook.checkpointer.save(name, iteration=step)


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


def cut_metrics(file: Path, size: int) -> None:
    """Removes the end of a metrics file.

    The writers of the training have the file open to append to it, so it is cut and not replaced.

    Args:
        file: `metrics.json`. It may be missing, or shorter.
        size: number of bytes that stay.
    """
    if file.is_file() and file.stat().st_size > size:
        os.truncate(file, size)
