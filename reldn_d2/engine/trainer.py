"""The trainer of both stages, the detector and RelDN, for either kind of config."""

import logging
import time
import weakref
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.engine import AMPTrainer, DefaultTrainer, SimpleTrainer, TrainerBase, default_writers, hooks
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.data import (
    RelationDatasetMapper,
    images_with_entities,
    prepare_training_relations,
    with_queries,
)
from reldn_d2.data.statistics import predicate_repeat_factors
from reldn_d2.evaluation import RelationEvaluator
from reldn_d2.evaluation.protocols.headline import headline

from .best_checkpoint import BestCheckpoint
from .console import as_block
from .datasets import check_detection_files, common_vocabulary, load_registered
from .duration import ExpectedDuration
from .first_screen import describe_training
from .lazy import LazyParts
from .length import check_length, describe_change
from .optimizer import relation_optimizer_params
from .parts import CONFIG_FILE, Config, RunParts
from .protocols import chosen_protocols
from .run import build_training, distribute, last_checkpoint, queries_of, resume_or_start, test
from .summary import (
    BEST_WEIGHTS,
    Summary,
    evaluation_settings,
    files_of_run,
    finished_results,
)
from .yaml import YamlParts, is_relation_config, yaml_class_counts

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """DefaultTrainer with RelDN's mapper, evaluator, checkpoints and learning-rate groups.

    It takes configs in YAML and in Python, runs several processes also on CPUs, and fills the semantic
    module's table before training. The class methods that begin with `build_` make the parts of a YAML
    config, as in Detectron2. A subclass may override them.

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
        self.scheduler = parts.lr_scheduler(run.optimizer)
        self._run = run
        self._start = "the weights that the model has"
        self.checkpointer = RelationCheckpointer(
            model,
            parts.output_dir,
            vocabulary=run.vocabulary,
            run=run.identity,
            trainer=weakref.proxy(self),
        )
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
            ValueError: see `resume_or_start`; or the training that is resumed is longer already.
        """
        parts = self.parts
        source = last_checkpoint(parts) if resume else None
        saved = self.checkpointer.saved_run() if source else None
        if not resume_or_start(self.checkpointer, self._run.identity, parts, resume=resume):
            weights = " and ".join(filter(None, (parts.weights, parts.relation_weights)))
            self._start = weights or "random weights"
            return
        self.start_iter = self.iter + 1
        self._start = f"resumed from {source}, after {self.start_iter} iterations"
        check_length(parts, self.start_iter, str(source))
        self._best.resume()
        change = describe_change(parts, saved or {}, self.optimizer, self.scheduler, self.start_iter)
        if change:
            logger.info(change)
            if comm.is_main_process():
                parts.save(Path(parts.output_dir, CONFIG_FILE))

    def train(self) -> dict[str, Any]:
        """Trains to the end, evaluates, and compares the results with those that the config expects.

        It says what it trains, and at the end what came out and where it lies. A training that has ended is
        not evaluated again.

        Returns:
            See `reldn_d2.engine.run.test`; empty if the config names no test set.
        """
        model, run = self.checkpointer.model, self._run
        about = describe_training(self.parts, model, run.data, run.vocabulary, self._start)
        logger.info("Training\n%s", as_block(about))
        results = finished_results(self.parts) if self.start_iter == self.max_iter else None
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
        return Summary(title, sets, settings, results, files, self.max_iter)

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
            made.append(ExpectedDuration())
            made.append(hooks.PeriodicWriter(self.build_writers(), period=parts.log_period))
        return made

    def build_writers(self) -> list[Any]:
        """Writers to the terminal, `metrics.json` and TensorBoard."""
        writers: list[Any] = default_writers(self.parts.output_dir, self.max_iter)
        return writers

    def _test_and_keep_results(self) -> dict[str, Any]:
        results = self._last_eval_results = self.test(self.cfg, self.model)
        if comm.is_main_process():
            trained = min(self.iter + 1, self.max_iter)
            logger.info("After %d iterations: %s", trained, headline(results) or "no numbers")
            if self.parts.best_checkpoint:
                self._best.offer(results, trained)
        return results

    @classmethod
    def test(cls, cfg: Config, model: nn.Module, evaluators: Any = None) -> dict[str, Any]:
        """Evaluates as DefaultTrainer does, after a check that the data sets have the config's classes.

        Args:
            cfg: config of either kind.
            model: the model with its weights.
            evaluators: one for each test set, instead of those of the config.

        Returns:
            See `reldn_d2.engine.run.test`.
        """
        if isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        return test(cls.parts_of(cfg), model, evaluators)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """SGD with the learning-rate groups of the published recipe.

        Raises:
            ValueError: the model has nothing to train.
        """
        solver = cfg.SOLVER
        params = relation_optimizer_params(
            model,
            base_lr=solver.BASE_LR,
            weight_decay=solver.WEIGHT_DECAY,
            weight_decay_norm=solver.WEIGHT_DECAY_NORM,
            weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
            bias_lr_factor=solver.BIAS_LR_FACTOR,
            predicate_backbone_lr_factor=solver.PREDICATE_BACKBONE_LR_FACTOR,
        )
        sgd = torch.optim.SGD(params, solver.BASE_LR, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV)
        optimizer: torch.optim.Optimizer = maybe_add_gradient_clipping(cfg, sgd)
        return optimizer

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, dataset_dicts: list[dict[str, Any]] | None = None) -> Any:
        """Detectron2's loader over `dataset_dicts` (None: those of DATASETS.TRAIN) with RelDN's mapper.

        The detector trains on images with entities, RelDN on images with relationships.

        Raises:
            ValueError: see `predicate_repeat_factors`, if DATALOADER.SAMPLER_TRAIN asks for them.
        """
        if dataset_dicts is None:
            dataset_dicts = load_datasets(cfg, cfg.DATASETS.TRAIN, cfg.DATASETS.DETECTION_FILES_TRAIN)
        if is_relation_config(cfg):
            dataset_dicts = prepare_training_relations(dataset_dicts, ", ".join(cfg.DATASETS.TRAIN))
        else:
            dataset_dicts = images_with_entities(dataset_dicts)
        mapper = RelationDatasetMapper(cfg, is_train=True)
        sampler = _predicate_sampler(cfg, dataset_dicts)
        return build_detection_train_loader(cfg, dataset=dataset_dicts, mapper=mapper, sampler=sampler)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """Detectron2's loader with RelDN's mapper, which keeps ground-truth boxes at test time.

        For RelDN it adds the queries of the evaluator that `build_evaluator` returns.

        Raises:
            ValueError: the numbers of detection files and data sets differ; or see `chosen_protocols`.
        """
        files = cfg.DATASETS.DETECTION_FILES_TEST
        check_detection_files(files, cfg.DATASETS.TEST)
        chosen = [file for file, name in zip(files, cfg.DATASETS.TEST, strict=False) if name == dataset_name]
        loader = build_detection_test_loader(
            load_datasets(cfg, [dataset_name], chosen),
            mapper=RelationDatasetMapper(cfg, is_train=False),
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            batch_size=cfg.TEST.IMS_PER_BATCH,
        )
        if not is_relation_config(cfg):
            return loader
        chosen_protocols(cfg)  # an unknown protocol is an error here, not at the first batch
        # Those of the config's own evaluator; `test` replaces them by what the evaluator in use asks.
        return with_queries(loader, lambda: queries_of(Trainer.build_evaluator(cfg, dataset_name)) or {})

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Relationship metrics for RelDN, box AP for the detector.

        Raises:
            ValueError: see `chosen_protocols` and `RelationEvaluator`.
        """
        output_dir = Path(cfg.OUTPUT_DIR) / "inference" / dataset_name
        if not is_relation_config(cfg):
            return COCOEvaluator(
                dataset_name, output_dir=str(output_dir), use_fast_impl=False, allow_cached_coco=False
            )
        test = cfg.MODEL.ROI_RELATION_HEAD.TEST
        return RelationEvaluator(
            dataset_name,
            test.TASK,
            chosen_protocols(cfg),
            output_dir=output_dir / test.TASK,
            confusion_subset=test.CONFUSION_SUBSET,
        )


def load_datasets(cfg: CfgNode, names: Sequence[str], detection_files: Sequence[str]) -> list[dict[str, Any]]:
    """Dataset dicts of registered data sets, with precomputed detections if files are given."""
    if detection_files:
        common_vocabulary(names, yaml_class_counts(cfg))
    return load_registered(names, detection_files)


def _predicate_sampler(
    cfg: CfgNode, dataset_dicts: list[dict[str, Any]]
) -> RepeatFactorTrainingSampler | None:
    """The sampler that only this package has; None if the config names one of Detectron2's."""
    if cfg.DATALOADER.SAMPLER_TRAIN != "RelDNPredicateRepeatFactorTrainingSampler":
        return None
    factors = predicate_repeat_factors(
        dataset_dicts, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
    )
    # A negative SEED means another order in each run, but the sampler would use it as a seed.
    return RepeatFactorTrainingSampler(factors, seed=cfg.SEED if cfg.SEED >= 0 else None)
