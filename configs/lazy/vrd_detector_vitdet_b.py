"""Stage 1 on VRD with a plain vision transformer: Detectron2's ViTDet-B, from its COCO weights.

    python train_net.py --config-file configs/lazy/vrd_detector_vitdet_b.py --num-gpus 8

Never run: we had neither the weights nor a GPU. Batch size and schedule are chosen for VRD's 4,000 photos.
"""

from functools import partial

import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.modeling.backbone.vit import get_vit_lr_decay_rate
from detectron2.solver import WarmupParamScheduler
from detectron2.solver.build import get_default_optimizer_params
from fvcore.common.param_scheduler import MultiStepParamScheduler

from reldn_d2.engine.datasets import load_registered
from reldn_d2.evaluation.box_evaluator import BoxEvaluator
from reldn_d2.model_zoo import get_detectron2_config_file

from .common.relations import dataloader, datasets
from .models.faster_rcnn_vitdet_b import model

model.roi_heads.num_classes = 100

datasets.train, datasets.test = ["reldn_vrd_train"], "reldn_vrd_test"
dataloader.pop("statistics")
dataloader.train.dataset = L(filter_images_with_only_crowd_annotations)(
    dataset_dicts=L(load_registered)(names="${datasets.train}", check="${datasets.check}")
)
dataloader.train.total_batch_size = 16
dataloader.test.dataset = L(load_registered)(names=["${datasets.test}"], check="${datasets.check}")
dataloader.evaluator = L(BoxEvaluator)(
    dataset_name="${datasets.test}",
    output_dir="${train.output_dir}/inference/${datasets.test}",
    use_fast_impl=False,
    allow_cached_coco=False,
)
for _loader in (dataloader.train, dataloader.test):
    _loader.mapper.augmentations[0].short_edge_length = [1024]
    _loader.mapper.augmentations[0].max_size = 1024

optimizer = L(torch.optim.AdamW)(
    params=L(get_default_optimizer_params)(
        # The trainer fills in `model`.
        base_lr="${..lr}",
        weight_decay_norm=0.0,
        lr_factor_func=partial(get_vit_lr_decay_rate, num_layers=12, lr_decay_rate=0.7),
        overrides={"pos_embed": {"weight_decay": 0.0}},
    ),
    lr=5e-5,
    betas=(0.9, 0.999),
    weight_decay=0.1,
)

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[4000, 5500], num_updates="${train.max_iter}"
    ),
    warmup_length=250 / 6000,
    warmup_factor=0.001,
)

train = LazyConfig.load(get_detectron2_config_file("common/train.py")).train
train.seed = -1  # negative: each run draws a seed, prints it and saves it; 0 or more fixes it
train.precision = "fp32"  # or "bf16", of matrix products and convolutions
train.init_checkpoint = "detectron2://ViTDet/COCO/mask_rcnn_vitdet_b/f325346929/model_final_61ccd1.pkl"
train.output_dir = "output/lazy/vrd_detector_vitdet_b"
train.max_iter = 6000
train.eval_period = 0
train.best_checkpoint = False  # also keep the weights of the best evaluation; needs train.eval_period
train.skip_unreadable = False  # exclude images whose picture can't be read from evaluations
