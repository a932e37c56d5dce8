"""DefaultTrainer for both stages: the detector (GeneralizedRCNN) and RelDN."""

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.engine import AMPTrainer, DefaultTrainer, SimpleTrainer, TrainerBase, create_ddp_model
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils import comm
from torch import nn

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.data import RelationDatasetMapper, prepare_training_relations
from reldn_d2.data.statistics import predicate_repeat_factors
from reldn_d2.evaluation import RelationEvaluator
from reldn_d2.modeling import RelDN

from .datasets import check_detection_files, load_registered
from .optimizer import relation_optimizer_params
from .protocols import ask_for_named_triplets, chosen_protocols
from .run_identity import resume_or_start, run_identity
from .setup import check_classes, is_relation_model, set_predicate_statistics


class Trainer(DefaultTrainer):
    """DefaultTrainer with RelDN's mapper, evaluator, checkpoints and learning-rate groups.

    It also runs several processes on CPUs, and fills the semantic module's table before training.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: of either stage.

        Raises:
            ValueError: the config does not fit a data set, has nothing to train, or asks for AMP without CUDA.
        """
        # Not DefaultTrainer's: it offers no way in for its checkpointer, nor for DDP without `device_ids`, which
        # DDP insists on for CPU modules. The order of construction is the same.
        TrainerBase.__init__(self)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        vocabulary = check_classes(cfg, (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST, *cfg.DATASETS.STATISTICS))
        use_amp = cfg.SOLVER.AMP.ENABLED
        if use_amp and cfg.MODEL.DEVICE == "cpu":
            raise ValueError("SOLVER.AMP.ENABLED needs CUDA: switch it off, or set MODEL.DEVICE to 'cuda'")
        if cfg.DATASETS.DETECTION_FILES_TRAIN and cfg.MODEL.ROI_RELATION_HEAD.SAMPLING.METHOD == "published":
            raise ValueError(
                "SAMPLING.METHOD 'published' trains on proposals, so it can't use DATASETS.DETECTION_FILES_TRAIN: "
                "choose one of them"
            )
        dataset_dicts = load_datasets(cfg, cfg.DATASETS.TRAIN, cfg.DATASETS.DETECTION_FILES_TRAIN)
        model = self.build_model(cfg)
        if isinstance(model, RelDN):
            counted = cfg.DATASETS.STATISTICS
            set_predicate_statistics(
                model, cfg, load_datasets(cfg, counted, ()) if counted else dataset_dicts
            )
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg, dataset_dicts)

        model = distribute(model, broadcast_buffers=False)
        self._trainer = (AMPTrainer if use_amp else SimpleTrainer)(model, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self._run = run_identity(cfg, dataset_dicts)
        self.checkpointer = RelationCheckpointer(
            model, cfg.OUTPUT_DIR, vocabulary=vocabulary, run=self._run, trainer=weakref.proxy(self)
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """As DefaultTrainer; a start takes the relation part from MODEL.ROI_RELATION_HEAD.WEIGHTS, if that is given.

        Raises:
            ValueError: RelDN would start from a detector that nobody trained, or the checkpoint to resume from was
                trained with another config or other data.
        """
        resumed = resume_or_start(
            self.checkpointer,
            self._run,
            resume=resume,
            weights=self.cfg.MODEL.WEIGHTS,
            relation_weights=self.cfg.MODEL.ROI_RELATION_HEAD.WEIGHTS,
            key="MODEL.WEIGHTS",
        )
        if resumed:
            self.start_iter = self.iter + 1

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
        if is_relation_model(cfg):
            dataset_dicts = prepare_training_relations(dataset_dicts, ", ".join(cfg.DATASETS.TRAIN))
        else:
            dataset_dicts = filter_images_with_only_crowd_annotations(dataset_dicts)
        mapper = RelationDatasetMapper(cfg, is_train=True)
        sampler = _predicate_sampler(cfg, dataset_dicts)
        return build_detection_train_loader(cfg, dataset=dataset_dicts, mapper=mapper, sampler=sampler)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """Detectron2's loader with RelDN's mapper, which keeps ground-truth boxes at test time.

        Raises:
            ValueError: another number of detection files than of data sets, or see `ask_for_named_triplets`.
        """
        files = cfg.DATASETS.DETECTION_FILES_TEST
        check_detection_files(files, cfg.DATASETS.TEST)
        chosen = [file for file, name in zip(files, cfg.DATASETS.TEST, strict=False) if name == dataset_name]
        dataset_dicts = load_datasets(cfg, [dataset_name], chosen)
        if is_relation_model(cfg):
            dataset_dicts = ask_for_named_triplets(cfg, dataset_dicts)
        return build_detection_test_loader(
            dataset_dicts,
            mapper=RelationDatasetMapper(cfg, is_train=False),
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            batch_size=cfg.TEST.IMS_PER_BATCH,
        )

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Relationship metrics for RelDN, box AP for the detector.

        Raises:
            ValueError: see `chosen_protocols` and `RelationEvaluator`.
        """
        output_dir = Path(cfg.OUTPUT_DIR) / "inference" / dataset_name
        if not is_relation_model(cfg):
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

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> Any:
        """As DefaultTrainer, after a check that the data sets have the classes of the config.

        Returns:
            "task/protocol" -> metric -> number; of several data sets "data set/task/protocol", on one level, so that
            TEST.EXPECTED_RESULTS can name them. Empty on all but the main process.
        """
        if cfg.DATASETS.TEST:
            check_classes(cfg, cfg.DATASETS.TEST)
        results = super().test(cfg, model, evaluators)
        if len(set(cfg.DATASETS.TEST)) <= 1:
            return results
        return {f"{name}/{task}": x for name, tasks in results.items() for task, x in tasks.items()}


def load_datasets(cfg: CfgNode, names: Sequence[str], detection_files: Sequence[str]) -> list[dict[str, Any]]:
    """Dataset dicts of registered data sets, with precomputed detections if files are given.

    Args:
        cfg: its classes must be those of data sets that get detections.
        names: of data sets.
        detection_files: one per data set, or none.

    Raises:
        ValueError: another number of files than of data sets.
    """
    if detection_files:
        check_classes(cfg, names)
    return load_registered(names, detection_files)


def _predicate_sampler(
    cfg: CfgNode, dataset_dicts: list[dict[str, Any]]
) -> RepeatFactorTrainingSampler | None:
    """The sampler that is ours; None where Detectron2 knows the name."""
    if cfg.DATALOADER.SAMPLER_TRAIN != "PredicateRepeatFactorTrainingSampler":
        return None
    factors = predicate_repeat_factors(
        dataset_dicts, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
    )
    # A negative SEED asks for another order in each run; the sampler would take it for a seed.
    return RepeatFactorTrainingSampler(factors, seed=cfg.SEED if cfg.SEED >= 0 else None)


def distribute(model: nn.Module, **options: Any) -> nn.Module:
    """The model for several processes, if there are several; on CPUs too.

    Args:
        model: on its device.
        options: of `create_ddp_model`.
    """
    if next(model.parameters()).device.type == "cpu":
        options["device_ids"] = None  # DDP insists on it
    distributed: nn.Module = create_ddp_model(model, **options)
    return distributed
