r"""configs/scenes/reldn.yaml as a config in Python: RelDN with all four losses on the built-in scenes.

python train_net.py --config-file configs/lazy/scenes_reldn.py \
    train.init_checkpoint=output/scenes/detector/model_final.pth
"""

from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import ResNet
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler

from reldn_d2.model_zoo import get_detectron2_config_file

from .common.relations import dataloader, datasets, optimizer
from .models.reldn_fpn import model

model.backbone.bottom_up.stem.norm = "BN"
model.backbone.bottom_up.stages = L(ResNet.make_default_stages)(depth=18, norm="BN")
model.backbone.out_channels = 64

_rpn = model.proposal_generator
_rpn.in_features = ["p2", "p3", "p4", "p5"]
_rpn.head.in_channels = 64
_rpn.anchor_generator.sizes = [[21], [40], [64], [96]]
_rpn.anchor_generator.strides = [4, 8, 16, 32]
_rpn.pre_nms_topk = (500, 300)
_rpn.post_nms_topk = (300, 150)

model.roi_heads.num_classes = 6
model.roi_heads.batch_size_per_image = 128
model.roi_heads.positive_fraction = 0.5
model.roi_heads.box_pooler.sampling_ratio = 2
model.roi_heads.box_head.input_shape = ShapeSpec(channels=64, height=7, width=7)
model.roi_heads.box_head.fc_dims = [256, 256]
model.roi_heads.box_predictor.input_shape = ShapeSpec(channels=256)

model.relation_head.num_predicates = 7

datasets.train, datasets.test = ["reldn_scenes_train"], "reldn_scenes_test"
for _loader in (dataloader.train, dataloader.test):
    _loader.num_workers = 0
    _loader.mapper.augmentations[0].short_edge_length = [192]
    _loader.mapper.augmentations[0].max_size = 192
dataloader.test.batch_size = 8  # all scenes have the same size
dataloader.evaluator.protocols.names = ["motifs", "reldn", "reldn_openimages", "confusion"]

# Higher than the usual 0.1, because the predicate backbone trains for minutes, not epochs.
optimizer.params.predicate_backbone_lr_factor = 1.0

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[150, 185], num_updates="${train.max_iter}"
    ),
    warmup_length=50 / 200,  # share of the training steps
    warmup_factor=1 / 1000,
)

train = LazyConfig.load(get_detectron2_config_file("common/train.py")).train
train.seed = -1  # negative: each run draws a seed, prints it and saves it; 0 or more fixes it
train.precision = "fp32"  # or "bf16", of matrix products and convolutions
train.init_checkpoint = "output/scenes/detector/model_final.pth"
train.relation_checkpoint = ""
train.output_dir = "output/lazy/scenes_reldn"
train.device = "cpu"
train.max_iter = 200
train.checkpointer.period = 100
train.eval_period = 0
train.best_checkpoint = False  # also keep the weights of the best evaluation; needs train.eval_period
train.skip_unreadable = False  # exclude images whose picture can't be read from evaluations
