"""The trainer of both stages, the detector and RelDN, for either kind of config."""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from detectron2.engine import AMPTrainer, SimpleTrainer, TrainerBase, default_writers, hooks
from detectron2.utils import comm
from omegaconf import DictConfig

from reldn_d2.evaluation.protocols.headline import headline

from .best_checkpoint import BestCheckpoint, KeepBest
from .console import as_block
from .duration import ExpectedDuration
from .exact_resume import ExactResume
from .failed_writes import explaining_failed_writes
from .first_screen import describe_training
from .folder_lock import holding
from .lazy import LazyParts
from .length import describe_change
from .parts import CONFIG_FILE, Config, RunParts
from .relation_training import RelationTraining
from .resumable_evaluation import evaluation_identity
from .run import build_training, distribute, last_checkpoint
from .summary import (
    BEST_WEIGHTS,
    Summary,
    evaluation_settings,
    files_of_run,
    finished_evaluation,
    finished_results,
    notes_on_results,
    save_evaluation,
)
from .yaml import YamlParts

logger = logging.getLogger(__name__)


class Trainer(RelationTraining):
    """The trainer of `reldn` and `train_net.py`: `RelationTraining` for both kinds of configs.

    It takes configs in YAML and in Python, runs several processes also on CPUs, and says what it trains and
    what came out. The class methods that begin with `build_` make the parts of a YAML config, as in
    Detectron2. A subclass may override them.

    Attributes:
        cfg: the config.
        parts: the parts that it describes.
    """

    def __init__(self, cfg: Config) -> None:
        """Builds and checks all parts of a training.

        Args:
            cfg: config of either stage and kind.

        Raises:
            ValueError: see `build_training`.
        """
        # Not DefaultTrainer's constructor, which takes neither another checkpointer nor options of DDP, which
        # must get no `device_ids` for CPU modules. The order of construction is the same.
        TrainerBase.__init__(self)
        self.parts = parts = self.parts_of(cfg).scaled_to(comm.get_world_size())
        run = build_training(parts)
        model = distribute(run.model, **parts.ddp_options)
        self._trainer = (AMPTrainer if parts.use_amp else SimpleTrainer)(
            model, run.data_loader, run.optimizer
        )
        self._use_precision()
        self.scheduler = parts.lr_scheduler(run.optimizer)
        self._vocabulary, self._identity, self._data = run.vocabulary, run.identity, run.data
        self._start = "the weights that the model has"
        self.checkpointer = self.build_checkpointer(model, parts.output_dir)
        self._best = BestCheckpoint(self.checkpointer, Path(BEST_WEIGHTS).stem)
        self.start_iter, self.max_iter = 0, parts.max_iter
        self.cfg = parts.cfg if isinstance(parts, YamlParts) else cfg
        self._last_eval_results: dict[str, Any] = {}
        self.register_hooks(self.build_hooks())

    @classmethod
    def parts_of(cls, cfg: Config) -> RunParts:
        """The parts that a config describes."""
        return LazyParts(cfg) if isinstance(cfg, DictConfig) else YamlParts(cfg, cls)

    def resume_or_load(self, resume: bool = True) -> None:
        """Loads as DefaultTrainer does; a new RelDN may take its relation part from another checkpoint.

        A training that is resumed may be longer than before, and says what that means for its learning rate.

        Raises:
            ValueError: see `RelationTraining.resume_or_load`.
        """
        parts = self.parts
        source = last_checkpoint(parts) if resume else None
        saved = self.checkpointer.saved_run() if source else None
        super().resume_or_load(resume)
        if source is None:
            weights = " and ".join(filter(None, (parts.weights, parts.relation_weights)))
            self._start = weights or "random weights"
            return
        self._start = f"resumed from {source}, after {self.start_iter} iterations"
        change = describe_change(parts, saved or {}, self.optimizer, self.scheduler, self.start_iter)
        if change:
            logger.info(change)
        # The config of a run that is resumed is not touched before the run has turned out to be the same.
        config = Path(parts.output_dir, CONFIG_FILE)
        if comm.is_main_process() and (change or not config.is_file()):
            parts.save(config)

    def train(self) -> dict[str, Any]:
        """Trains to the end, evaluates, and compares the results with those that the config expects.

        It says what it trains, and at the end what came out and where it lies. A training that has ended is
        not evaluated again.

        Returns:
            See `reldn_d2.engine.run.test`; empty if the config names no test set.

        Raises:
            OSError: a file can't be written or read. The message names the last complete checkpoint.
        """
        with holding(self.parts), explaining_failed_writes(self.checkpointer):
            return self._train()

    def _train(self) -> dict[str, Any]:
        about = describe_training(
            self.parts, self.checkpointer.model, self._data, self._vocabulary, self._start
        )
        logger.info("Training\n%s", as_block(about))
        done = self.start_iter == self.max_iter
        results = self._known_results(finished_results, self.max_iter) if done else None
        if results is None:
            start = time.perf_counter()
            TrainerBase.train(self, self.start_iter, self.max_iter)
            results = self._last_eval_results
            duration = timedelta(seconds=round(time.perf_counter() - start))
            summary = self._summary(
                f"Training finished: {self.max_iter} iterations; this run took {duration}", results
            )
            if comm.is_main_process():
                summary.save(Path(self.parts.output_dir))
        else:
            summary = self._summary(
                f"This training had finished already: {self.max_iter} iterations. To go on, set "
                f"{self.parts.keys.max_iter} higher",
                results,
            )
        if comm.is_main_process():
            logger.info(summary.for_the_screen())
        self.parts.verify(results)
        return results

    def _summary(self, title: str, results: dict[str, Any]) -> Summary:
        files = files_of_run(self.parts, results, trained=True, best=str(self._best))
        sets, settings = self.parts.test_datasets, evaluation_settings(self.parts)
        notes = notes_on_results(self.parts, results)
        identity = evaluation_identity(self.parts, self.checkpointer.model)
        return Summary(title, sets, settings, results, files, self.max_iter, notes, identity)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads as DefaultTrainer does, also the state that earlier releases saved for Python configs."""
        if "_trainer" not in state_dict:
            state_dict = {**state_dict, "_trainer": {**state_dict, "hooks": {}}}
        super().load_state_dict(state_dict)

    def build_hooks(self) -> list[Any]:
        """The hooks of DefaultTrainer, with the periods of the config."""
        parts = self.parts
        # Precise batch normalisation comes before the checkpoint, which contains its results. The evaluation
        # comes after the checkpoint, so that a failed evaluation loses nothing.
        made = [hooks.IterationTimer(), hooks.LRScheduler(), parts.precise_bn(self.model)]
        if comm.is_main_process():
            made.append(hooks.PeriodicCheckpointer(self.checkpointer, **parts.checkpoint_options))
        made.append(hooks.EvalHook(parts.eval_period, self._test_and_keep_results))
        if comm.is_main_process():
            if parts.best_checkpoint:
                made.append(KeepBest(self._best))
            made.append(ExpectedDuration())
        made.append(ExactResume(parts.seed, parts.output_dir))
        if comm.is_main_process():
            made.append(hooks.PeriodicWriter(self.build_writers(), period=parts.log_period))
        return made

    def build_writers(self) -> list[Any]:
        """Writers to the terminal, `metrics.json` and TensorBoard."""
        writers: list[Any] = default_writers(self.parts.output_dir, self.max_iter)
        return writers

    def _test_and_keep_results(self) -> dict[str, Any]:
        trained = min(self.iter + 1, self.max_iter)
        # After the checkpoint that is resumed, the evaluation may be finished already.
        resumed = trained == self.start_iter < self.max_iter
        results = self._known_results(finished_evaluation, trained) if resumed else None
        if results is None:
            results = self.test(self.cfg, self.model)
            if comm.is_main_process():
                identity = evaluation_identity(self.parts, self.checkpointer.model)
                save_evaluation(self.parts, trained, identity, results)
        self._last_eval_results = results
        if comm.is_main_process():
            logger.info("After %d iterations: %s", trained, headline(results) or "no numbers")
        return results

    def _known_results(
        self, find: Callable[[RunParts, int, Mapping[str, str]], Any], iterations: int
    ) -> dict[str, Any] | None:
        """Results that were saved of these weights and settings. All processes know whether there are any."""
        found = None
        if comm.is_main_process():
            found = find(self.parts, iterations, evaluation_identity(self.parts, self.checkpointer.model))
        known: bool = comm.all_gather(found is not None)[0]
        return (found or {}) if known else None
