"""A small RelDN on the pictures of `mixed_pictures`, with augmentation: a config in Python."""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig

from tests.builders.small_backbone import SmallBackbone

_cfg = LazyConfig.load_rel("tiny_lazy.py")
model, datasets, dataloader = _cfg.model, _cfg.datasets, _cfg.dataloader
optimizer, lr_multiplier, train = _cfg.optimizer, _cfg.lr_multiplier, _cfg.train

model.backbone = L(SmallBackbone)()
model.task = "prdcls"
datasets.train, datasets.test = ["mixed_train"], "mixed_test"
dataloader.train.mapper.augmentations = [
    L(T.RandomCrop)(crop_type="relative_range", crop_size=[0.7, 0.7]),
    L(T.ResizeShortestEdge)(short_edge_length=[64, 80, 96], max_size=120, sample_style="choice"),
    L(T.RandomFlip)(horizontal=True),
]
dataloader.test.mapper.augmentations[0].short_edge_length = [72]
optimizer.lr = 0.001
lr_multiplier.scheduler.milestones = [6]
lr_multiplier.warmup_length = 0.5
train.checkpointer.period = train.eval_period = 3
train.log_period = 4  # evaluations lie between two log lines
train.best_checkpoint = True
