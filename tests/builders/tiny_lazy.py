"""configs/lazy/scenes_reldn.py at the size of `tiny_models.TINY`: itself a config in Python."""

from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import ResNet

from tests.builders.narrow_resnet import STAGES, STEM_CHANNELS

_cfg = LazyConfig.load_rel("../../configs/lazy/scenes_reldn.py")
model, datasets, dataloader = _cfg.model, _cfg.datasets, _cfg.dataloader
optimizer, lr_multiplier, train = _cfg.optimizer, _cfg.lr_multiplier, _cfg.train

model.backbone.bottom_up.stem.out_channels = STEM_CHANNELS
model.backbone.bottom_up.stages = [L(ResNet.make_stage)(**stage, norm="BN") for stage in STAGES]
model.backbone.out_channels = model.proposal_generator.head.in_channels = 16
model.proposal_generator.post_nms_topk = (300, 30)
model.roi_heads.batch_size_per_image = 16
model.roi_heads.box_head.input_shape = ShapeSpec(channels=16, height=7, width=7)
model.roi_heads.box_head.fc_dims = [32, 32]
model.roi_heads.box_predictor.input_shape = ShapeSpec(channels=32)
model.roi_heads.box_predictor.test_topk_per_image = 12

datasets.train, datasets.test = ["reldn_scenes_tiny_train"], "reldn_scenes_tiny_test"
for _loader in (dataloader.train, dataloader.test):
    _loader.mapper.augmentations[0].short_edge_length = [96]
dataloader.train.total_batch_size = 2

lr_multiplier.scheduler.values, lr_multiplier.scheduler.milestones = [1.0, 0.1], [2]
lr_multiplier.warmup_length = 1 / 3
train.max_iter = 3
train.init_checkpoint = ""
