"""RelDN's training for trainers of other projects, and for loops of their own."""

import logging
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.engine import SimpleTrainer, hooks
from detectron2.evaluation import DatasetEvaluator
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from torch import nn

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.data import (
    RelationDatasetMapper,
    build_resumable_train_loader,
    images_with_entities,
    prepare_training_relations,
    with_queries,
)
from reldn_d2.data.mapper import NamedFormatsMapper
from reldn_d2.data.statistics import predicate_repeat_factors
from reldn_d2.evaluation import RelationEvaluator
from reldn_d2.evaluation.box_evaluator import BoxEvaluator
from reldn_d2.modeling import accelerate
from reldn_d2.structures import Vocabulary
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.inner_paths import inner_path

from .autocast_trainer import AutocastTrainer
from .best_checkpoint import BestCheckpoint, KeepBest
from .datasets import check_detection_files, common_vocabulary, load_registered
from .exact_resume import ExactResume
from .finite import FiniteTraining
from .folder_lock import hold, holding
from .length import check_length
from .optimizer import relation_optimizer_params
from .parts import RunParts
from .protocols import chosen_protocols
from .run import (
    build_training,
    check_same_checkpoint,
    check_same_weights,
    check_training,
    common_identity,
    last_checkpoint,
    queries_of,
    resume_or_start,
    set_statistics,
    test,
)
from .summary import BEST_WEIGHTS
from .yaml import YamlParts, is_relation_config, yaml_class_counts

_PREDICATE_SAMPLER = "RelDNPredicateRepeatFactorTrainingSampler"
_SAMPLERS_OF_DETECTRON2 = (
    *("TrainingSampler", "RepeatFactorTrainingSampler", "RandomSubsetTrainingSampler"),
    *("WeightedTrainingSampler", "WeightedCategoryTrainingSampler"),
)


class RelationTraining(FiniteTraining):
    """Makes a trainer on Detectron2's DefaultTrainer train RelDN as `reldn_d2.engine.Trainer` does.

    It is a mixin, so name it first:

        class MyTrainer(RelationTraining, DefaultTrainer):
            ...

    It counts the predicates for the semantic module, trains with the published learning-rate groups on images
    with relationships, saves and loads with `RelationCheckpointer`, refuses a detector without weights, and
    evaluates relationships. Configs of a detector (stage 1) train that detector. It takes YAML configs. In
    several processes on CPUs, Detectron2's DefaultTrainer can't train; `reldn_d2.engine.Trainer` can.

    A subclass may override every method, as in Detectron2.

    Attributes:
        parts: the parts that the config describes.
    """

    parts: RunParts
    checkpointer: Any
    _vocabulary: Vocabulary
    _identity: dict[str, str]
    _trainer: Any

    def __init__(self, cfg: CfgNode) -> None:
        """Builds and checks all parts of a training.

        Args:
            cfg: YAML config of either stage.

        Raises:
            ValueError: see `build_training`.
        """
        _log_like_detectron2()
        self.parts = self.parts_of(cfg).scaled_to(comm.get_world_size())
        self._vocabulary, training_data = check_training(self.parts)
        self._identity = common_identity(self.parts, training_data)
        super().__init__(cfg)
        self._use_precision()
        # Here and not in `build_model`, which also builds models for evaluation, without training data.
        set_statistics(self.parts, self.checkpointer.model, training_data)

    def _use_precision(self) -> None:
        """Makes the training loop use the precision of the config, if it is not the usual one.

        Raises:
            ValueError: the loop is one of another project, which can't be replaced.
        """
        if self.parts.precision == "fp32":
            return
        loop: Any = self._trainer
        if type(loop) is not SimpleTrainer:
            raise ValueError(
                f"{self.parts.keys.precision} is {self.parts.precision!r}, but {type(self).__name__} trains "
                f"with {type(loop).__name__}: set it to 'fp32', and use reldn_d2.modeling.autocast there"
            )
        self._trainer = AutocastTrainer(
            loop.model,
            loop.data_loader,
            loop.optimizer,
            gather_metric_period=loop.gather_metric_period,
            zero_grad_before_forward=loop.zero_grad_before_forward,
            async_write_metrics=loop.async_write_metrics,
            precision=self.parts.precision,
        )

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The model of the base class, made faster (`reldn_d2.modeling.accelerate`)."""
        model: nn.Module = super().build_model(cfg)
        return accelerate(model)

    @classmethod
    def parts_of(cls, cfg: Any) -> RunParts:
        """The parts that a config describes."""
        return YamlParts(cfg, cls)

    def build_hooks(self) -> list[Any]:
        """The hooks of the base class. They save with RelDN's checkpointer."""
        # DefaultTrainer's constructor takes no other checkpointer, and makes the hooks last.
        old = self.checkpointer
        self.checkpointer = self.build_checkpointer(old.model, old.save_dir, **old.checkpointables)
        made: list[Any] = super().build_hooks()
        if self.parts.best_checkpoint and comm.is_main_process():
            evaluations = [i for i, hook in enumerate(made) if isinstance(hook, hooks.EvalHook)]
            best = BestCheckpoint(self.checkpointer, Path(BEST_WEIGHTS).stem)
            made.insert(max(evaluations, default=len(made) - 1) + 1, KeepBest(best))
        # Before the writers, which stay the last hook, so that projects can insert theirs before them.
        last = len(made) - (bool(made) and isinstance(made[-1], hooks.PeriodicWriter))
        return [*made[:last], ExactResume(self.parts.seed, self.parts.output_dir), *made[last:]]

    def build_checkpointer(self, model: nn.Module, save_dir: str, **checkpointables: Any) -> Any:
        """RelDN's checkpointer, which also saves the vocabulary and what a resumed run must share.

        Args:
            model: the model, which may be wrapped for several processes.
            save_dir: folder of the checkpoints.
            checkpointables: what is saved besides the model; the trainer is always saved.
        """
        checkpointables["trainer"] = weakref.proxy(self)
        return RelationCheckpointer(
            model, save_dir, vocabulary=self._vocabulary, run=self._identity, **checkpointables
        )

    def resume_or_load(self, resume: bool = True) -> None:
        """Loads as DefaultTrainer does; a new RelDN may take its relation part from another checkpoint.

        Raises:
            ValueError: see `resume_or_start` and `hold`; or the training that is resumed is longer already;
                or the processes of the run find different checkpoints or weights.
        """
        hold(self.parts, "training")
        if resume:
            check_same_checkpoint(self.parts)
        if resume_or_start(self.checkpointer, self._identity, self.parts, resume=resume):
            self.start_iter = self.iter + 1
            check_length(self.parts, self.start_iter, str(last_checkpoint(self.parts)))
        check_same_weights(self.checkpointer.model, self.start_iter)
        for hook in self._hooks:
            if isinstance(hook, ExactResume):
                hook.resumes = resume

    def train(self) -> Any:
        """Trains as DefaultTrainer does. No other run can use the output folder meanwhile."""
        with holding(self.parts):
            return super().train()

    @classmethod
    def test(cls, cfg: Any, model: nn.Module, evaluators: Any = None) -> dict[str, Any]:
        """Evaluates as DefaultTrainer does, after a check that the data sets have the config's classes.

        Args:
            cfg: config of either stage.
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
    def build_mapper(cls, cfg: CfgNode, is_train: bool) -> Callable[[DatasetDict], DatasetDict]:
        """The mapper of `build_train_loader` and `build_test_loader`; a place for own augmentations.

        It is RelDN's. Only a detector with masks or keypoints trains with Detectron2's mapper, which reads
        them.
        """
        reads_more = cfg.MODEL.MASK_ON or cfg.MODEL.KEYPOINT_ON
        kind = NamedFormatsMapper if reads_more and not is_relation_config(cfg) else RelationDatasetMapper
        mapper: Callable[[DatasetDict], DatasetDict] = kind(cfg, is_train=is_train)
        return mapper

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, dataset_dicts: list[DatasetDict] | None = None) -> Any:
        """A loader over `dataset_dicts` (None: those of DATASETS.TRAIN) with RelDN's mapper.

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
        mapper = cls.build_mapper(cfg, is_train=True)
        sampler = _predicate_sampler(cfg, dataset_dicts)
        return build_resumable_train_loader(cfg, dataset=dataset_dicts, mapper=mapper, sampler=sampler)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """Detectron2's loader with RelDN's mapper, which keeps ground-truth boxes at test time.

        For RelDN it adds the queries of the config's own evaluator, that of `RelationTraining`.

        Raises:
            ValueError: the numbers of detection files and data sets differ; or see `chosen_protocols`.
        """
        files = cfg.DATASETS.DETECTION_FILES_TEST
        check_detection_files(files, cfg.DATASETS.TEST)
        chosen = [file for file, name in zip(files, cfg.DATASETS.TEST, strict=False) if name == dataset_name]
        loader = build_detection_test_loader(
            load_datasets(cfg, [dataset_name], chosen),
            mapper=cls.build_mapper(cfg, is_train=False),
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            batch_size=cfg.TEST.IMS_PER_BATCH,
        )
        if not is_relation_config(cfg):
            return loader
        chosen_protocols(cfg)  # an unknown protocol is an error here, not at the first batch
        # `test` replaces them by what the evaluator in use asks.
        return with_queries(
            loader, lambda: queries_of(RelationTraining.build_evaluator(cfg, dataset_name)) or {}
        )

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Relationship metrics for RelDN, box AP for the detector.

        Raises:
            ValueError: see `chosen_protocols` and `RelationEvaluator`.
        """
        output_dir = inner_path(Path(cfg.OUTPUT_DIR, "inference"), dataset_name, "data set")
        if not is_relation_config(cfg):
            return BoxEvaluator(
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


def prepare_relation_training(
    cfg: CfgNode,
) -> tuple[nn.Module, torch.optim.Optimizer, Any, RelationCheckpointer]:
    """Everything for a training loop of your own, built, checked and loaded as a trainer does it.

    Args:
        cfg: YAML config of either stage.

    Returns:
        The model with the weights of MODEL.WEIGHTS, in training mode and not yet wrapped for several
        processes; its optimizer; the loader of training batches; and the checkpointer of OUTPUT_DIR.

    Raises:
        ValueError: see `build_training` and `resume_or_start`.
    """
    _log_like_detectron2()
    parts = RelationTraining.parts_of(cfg)
    run = build_training(parts)
    checkpointer = RelationCheckpointer(
        run.model, parts.output_dir, vocabulary=run.vocabulary, run=run.identity
    )
    resume_or_start(checkpointer, run.identity, parts, resume=False)
    return run.model.train(), run.optimizer, run.data_loader, checkpointer


def load_datasets(cfg: CfgNode, names: Sequence[str], detection_files: Sequence[str]) -> list[DatasetDict]:
    """Dataset dicts of registered data sets, with precomputed detections if files are given."""
    if detection_files:
        common_vocabulary(names, yaml_class_counts(cfg))
    return load_registered(names, detection_files, cfg.DATASETS.CHECK)


def _predicate_sampler(cfg: CfgNode, dataset_dicts: list[DatasetDict]) -> RepeatFactorTrainingSampler | None:
    """The sampler that only this package has; None if the config names one of Detectron2's.

    Raises:
        ValueError: the config names another sampler.
    """
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if name not in (*_SAMPLERS_OF_DETECTRON2, _PREDICATE_SAMPLER):
        raise ValueError(
            f"DATALOADER.SAMPLER_TRAIN is {name!r}: give {', '.join(_SAMPLERS_OF_DETECTRON2)} or "
            f"{_PREDICATE_SAMPLER}"
        )
    if name != _PREDICATE_SAMPLER:
        return None
    factors = predicate_repeat_factors(
        dataset_dicts, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
    )
    # A negative SEED means another order in each run, but the sampler would use it as a seed.
    return RepeatFactorTrainingSampler(factors, seed=cfg.SEED if cfg.SEED >= 0 else None)


def _log_like_detectron2() -> None:
    """Sends the messages of this package where Detectron2's go, unless its logger has handlers of its own."""
    theirs, ours = logging.getLogger("detectron2"), logging.getLogger("reldn_d2")
    if not theirs.isEnabledFor(logging.INFO):
        setup_logger()  # as DefaultTrainer does
    if not set(ours.handlers) <= set(theirs.handlers):
        return
    for handler in theirs.handlers:
        ours.addHandler(handler)
    ours.setLevel(theirs.level)
    ours.propagate = theirs.propagate
