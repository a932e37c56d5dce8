"""The trainer of this project: Detectron2's DefaultTrainer, RelDN's part, and what is the project's own."""

from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators
from mapper import build_mapper

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.engine import RelationTraining


class LowestRate(HookBase):
    """Logs the lowest learning rate of all parameters. In RelDN it is that of the predicate backbone."""

    def after_step(self) -> None:
        """Adds the rate to the numbers of this step, which go to metrics.json."""
        rate = min(group["lr"] for group in self.trainer.optimizer.param_groups)
        self.trainer.storage.put_scalar("lowest_lr", rate, smoothing_hint=False)


class Trainer(RelationTraining, DefaultTrainer):
    """Trains both stages. `RelationTraining` is all that RelDN needs; the methods are this project's."""

    @classmethod
    def build_mapper(cls, cfg: CfgNode, is_train: bool) -> RelationDatasetMapper:
        """The mapper with this project's augmentations."""
        return build_mapper(cfg, is_train)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Relationship metrics and box AP in one evaluation of RelDN; box AP of the detector."""
        evaluator = super().build_evaluator(cfg, dataset_name)
        if cfg.MODEL.META_ARCHITECTURE != "RelDN":
            return evaluator
        folder = Path(cfg.OUTPUT_DIR, "inference", "boxes")
        boxes = COCOEvaluator(dataset_name, output_dir=str(folder), use_fast_impl=False)
        return DatasetEvaluators([boxes, evaluator])

    def build_hooks(self) -> list[HookBase]:
        """The usual hooks after one of this project, so that the writer at the end writes its number."""
        return [LowestRate(), *super().build_hooks()]
