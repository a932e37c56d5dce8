"""How long a training will take."""

import logging
from datetime import datetime, timedelta

from detectron2.engine import HookBase

logger = logging.getLogger(__name__)


class ExpectedDuration(HookBase):
    """Says once, after the first iterations, how long the training will take."""

    def __init__(self, measured: int = 20) -> None:
        """Sets the number of iterations that are measured.

        Args:
            measured: number of iterations; shorter trainings say nothing.
        """
        self._measured = measured

    def after_step(self) -> None:
        """Logs the duration and the time of the end, without evaluations."""
        trainer = self.trainer
        left = trainer.max_iter - trainer.iter - 1
        if trainer.iter - trainer.start_iter + 1 != self._measured or not left:
            return
        seconds = trainer.storage.history("time").median(self._measured)
        duration = timedelta(seconds=round(seconds * left))
        end = datetime.now() + duration
        logger.info(
            "%.3g s an iteration: about %s to go, until %s, evaluations not counted",
            seconds, duration, f"{end:%Y-%m-%d %H:%M}",
        )  # fmt: skip
