"""Stage 2 on VRD: RelDN on a plain vision transformer, Detectron2's ViTDet-B. Never run, like its stage 1.

    python train_net.py --config-file configs/lazy/vrd_reldn_vitdet_b.py --num-gpus 8

The detector of stage 1 comes from vrd_detector_vitdet_b.py, which starts from
detectron2://ViTDet/COCO/mask_rcnn_vitdet_b/f325346929/model_final_61ccd1.pkl.
"""

import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler

from reldn_d2.model_zoo import get_detectron2_config_file

from .common.relations import dataloader, datasets, optimizer
from .models.faster_rcnn_vitdet_b import model as _detector
from .models.reldn_fpn import model

# The predicate backbone and the box heads refer to these parts, so they change too.
for _part in ("backbone", "proposal_generator", "roi_heads", "pixel_mean", "pixel_std", "input_format"):
    model[_part] = _detector[_part]
model.roi_heads.num_classes = 100
model.relation_head.num_predicates = 70

datasets.train, datasets.test = ["reldn_vrd_train"], "reldn_vrd_test"
for _loader in (dataloader.train, dataloader.test):
    _loader.mapper.augmentations[0].short_edge_length = [1024]
    _loader.mapper.augmentations[0].max_size = 1024
dataloader.evaluator.protocols.names = ["motifs", "reldn", "vrd2016", "confusion"]
dataloader.evaluator.protocols.predicates_per_pair = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 70]

# The usual way to train transformers: AdamW, and the same settings for biases and weights.
optimizer._target_ = torch.optim.AdamW
optimizer.pop("momentum")
optimizer.lr, optimizer.weight_decay = 1e-4, 0.1
optimizer.params.bias_lr_factor = 1.0

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[5040, 6720], num_updates="${train.max_iter}"
    ),
    warmup_length=500 / 7560,
    warmup_factor=1 / 3,
)

train = LazyConfig.load(get_detectron2_config_file("common/train.py")).train
train.seed = -1  # negative: each run draws a seed, prints it and saves it; 0 or more fixes it
train.precision = "fp32"  # or "bf16", of matrix products and convolutions
train.init_checkpoint = "output/lazy/vrd_detector_vitdet_b/model_final.pth"
train.relation_checkpoint = ""
train.output_dir = "output/lazy/vrd_reldn_vitdet_b"
train.max_iter = 7560
train.eval_period = 0
train.best_checkpoint = False  # also keep the weights of the best evaluation; needs train.eval_period
train.skip_unreadable = False  # exclude images whose picture can't be read from evaluations
