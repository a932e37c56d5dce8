"""The detector of `mixed_reldn`: a config in Python."""

import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from detectron2.evaluation import COCOEvaluator
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.solver.build import get_default_optimizer_params

from reldn_d2.data import images_with_entities
from reldn_d2.engine.datasets import load_registered

_cfg = LazyConfig.load_rel("mixed_reldn.py")
datasets, dataloader, lr_multiplier, train = _cfg.datasets, _cfg.dataloader, _cfg.lr_multiplier, _cfg.train

model = _cfg.model
for _key in ("relation_backbone", "relation_head", "task", "entity_iou_threshold"):
    model.pop(_key)
for _key in ("entities_from_proposals", "freeze_norm"):
    model.pop(_key)
model._target_ = GeneralizedRCNN
model.roi_heads._target_ = StandardROIHeads

dataloader.pop("statistics")
dataloader.train.dataset = L(images_with_entities)(
    dataset_dicts=L(load_registered)(names="${datasets.train}")
)
dataloader.evaluator = L(COCOEvaluator)(
    dataset_name="${datasets.test}",
    output_dir="${train.output_dir}/inference/${datasets.test}",
    use_fast_impl=False,
    allow_cached_coco=False,
)
optimizer = L(torch.optim.AdamW)(params=L(get_default_optimizer_params)(base_lr="${..lr}"), lr=1e-4)
train.best_checkpoint, train.log_period = False, 1
