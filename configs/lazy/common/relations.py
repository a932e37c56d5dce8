"""Data, optimizer and evaluation of RelDN. A config that imports them adds model, schedule and `train`."""

import detectron2.data.transforms as T
import torch
from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from omegaconf import OmegaConf

from reldn_d2.data import RelationDatasetMapper, predicate_counts, prepare_training_relations
from reldn_d2.engine.datasets import load_registered
from reldn_d2.engine.optimizer import relation_optimizer_params
from reldn_d2.engine.protocols import protocols_of_task
from reldn_d2.evaluation import RelationEvaluator

datasets = {
    "train": ["reldn_scenes_train"],
    "statistics": "${.train}",  # the semantic table is counted over these; for a subset, name the full set
    "test": "reldn_scenes_test",
    "check": "error",  # about errors of an annotation: stop, or "warn" and go on
    # Files of precomputed detections, one for each data set. If empty, the detector is run.
    "train_detections": [],
    "test_detections": [],
}

dataloader = OmegaConf.create(flags={"allow_objects": True})

dataloader.train = L(build_detection_train_loader)(
    dataset=L(prepare_training_relations)(
        dataset_dicts=L(load_registered)(
            names="${datasets.train}",
            detection_files="${datasets.train_detections}",
            check="${datasets.check}",
        ),
        dataset_name="${datasets.train}",
    ),
    mapper=L(RelationDatasetMapper)(
        is_train=True,
        augmentations=[
            L(T.ResizeShortestEdge)(short_edge_length=[800], max_size=1333, sample_style="choice")
        ],
        image_format="${model.input_format}",
    ),
    total_batch_size=8,
    num_workers=4,
)

dataloader.statistics = L(predicate_counts)(
    dataset_dicts=L(load_registered)(names="${datasets.statistics}", check="${datasets.check}"),
    num_classes="${model.roi_heads.num_classes}",
    num_predicates="${model.relation_head.num_predicates}",
    overlap_only="${model.relation_head.overlap_only}",
    background_count="unrelated",
)

dataloader.test = L(build_detection_test_loader)(
    dataset=L(load_registered)(
        names=["${datasets.test}"],
        detection_files="${datasets.test_detections}",
        check="${datasets.check}",
    ),
    mapper=L(RelationDatasetMapper)(
        is_train=False,
        augmentations=[
            L(T.ResizeShortestEdge)(short_edge_length=[800], max_size=1333, sample_style="choice")
        ],
        image_format="${model.input_format}",
    ),
    num_workers=4,
    batch_size=1,
)

dataloader.evaluator = L(RelationEvaluator)(
    dataset_name="${datasets.test}",
    task="${model.task}",
    protocols=L(protocols_of_task)(
        names=["motifs", "reldn", "confusion"],
        task="${model.task}",
        top_k="${model.relation_head.top_k}",
        predicates_per_pair=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20],
        excluded_predicates=[],
    ),
    output_dir="${train.output_dir}/inference/${datasets.test}/${model.task}",
    confusion_subset=False,
)

optimizer = L(torch.optim.SGD)(
    params=L(relation_optimizer_params)(
        # The trainer fills in `model`.
        base_lr="${..lr}",
        weight_decay="${..weight_decay}",
        weight_decay_norm=0.0,
        weight_decay_bias=0.0,
        bias_lr_factor=2.0,
        predicate_backbone_lr_factor=0.1,
    ),
    lr=0.01,
    momentum=0.9,
    weight_decay=1e-4,
)
