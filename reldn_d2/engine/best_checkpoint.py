"""The weights of the best evaluation of a training.

Detectron2's hook for this marks its file as the last checkpoint, from which a run would resume, and a resumed
run forgets the best number. Here the number lies in the file of the weights.
"""

import logging
from collections.abc import Mapping
from math import isnan
from pathlib import Path

from detectron2.engine import hooks

from reldn_d2.checkpoint import RelationCheckpointer, read_checkpoint
from reldn_d2.evaluation.protocols.headline import Headline, headline

logger = logging.getLogger(__name__)


class BestCheckpoint:
    """Keeps the weights with the highest headline number.

    Attributes:
        best: the number; None before the first evaluation.
        iterations: how many iterations the best weights were trained.
    """

    def __init__(self, checkpointer: RelationCheckpointer, name: str) -> None:
        """Starts without a best number.

        Args:
            checkpointer: checkpointer of the run.
            name: name of the file in its folder, without the ending.
        """
        self._checkpointer, self._name = checkpointer, name
        self.best: Headline | None = None
        self.iterations = 0

    def resume(self) -> None:
        """Takes the best number of the run that is resumed, if it has one."""
        file = Path(self._checkpointer.save_dir, f"{self._name}.pth")
        saved = read_checkpoint(file) if file.is_file() else {}
        if "best" in saved:  # Detectron2's hook for the best checkpoint does not save the number
            self.best, self.iterations = Headline(**saved["best"]), saved["iteration"] + 1

    def offer(self, results: Mapping[str, Mapping[str, float]], iterations: int) -> None:
        """Saves the weights if they are better than all before. Other metrics than before start anew.

        Args:
            results: results of an evaluation; without numbers nothing is saved.
            iterations: how many iterations the weights were trained.
        """
        found = headline(results)
        if found is None or isnan(found.value):
            return
        if self.best is not None and self.best.key == found.key and self.best.value >= found.value:
            logger.info("The best is still %s", self)
            return
        self.best, self.iterations = found, iterations
        self._checkpointer.save(
            self._name,
            tag_last=False,
            iteration=iterations - 1,
            best={"group": found.group, "metric": found.metric, "value": found.value},
        )

    def __str__(self) -> str:
        return "" if self.best is None else f"{self.best}, after {self.iterations} iterations"


class KeepBest(hooks.HookBase):
    """Offers the results of each evaluation to a `BestCheckpoint`. It stands behind the EvalHook."""

    def __init__(self, best: BestCheckpoint) -> None:
        """Takes the place where the best weights are kept."""
        self._best = best
        self._seen: object = None

    def before_train(self) -> None:
        """Takes the best number of a resumed run."""
        if self.trainer.start_iter:
            self._best.resume()

    def after_step(self) -> None:
        """Looks for new results after each step."""
        results = getattr(self.trainer, "_last_eval_results", None)
        if results is not None and results is not self._seen:
            self._seen = results
            self._best.offer(results, min(self.trainer.iter + 1, self.trainer.max_iter))

    after_train = after_step
