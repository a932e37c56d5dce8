"""RelDN at a size that tests can afford, and inputs for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from reldn_d2.modeling import RelDN
from tests.builders.narrow_resnet import NARROW_RESNET

REPOSITORY = Path(__file__).resolve().parents[2]
# Small enough that a training step takes a fraction of a second.
NARROW_HEADS = [
    *("MODEL.FPN.OUT_CHANNELS", "16"),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", "32"),
    *("MODEL.RPN.POST_NMS_TOPK_TEST", "30"),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "16"),
    *("TEST.DETECTIONS_PER_IMAGE", "12"),
]
NARROW = [*(word for pair in NARROW_RESNET.items() for word in pair), *NARROW_HEADS]
TINY = [
    *NARROW,
    *("INPUT.MIN_SIZE_TRAIN", "(96,)"),
    *("INPUT.MIN_SIZE_TEST", "96"),
    *("DATASETS.TRAIN", "('reldn_scenes_tiny_train',)"),
    *("DATASETS.TEST", "('reldn_scenes_tiny_test',)"),
    *("SOLVER.IMS_PER_BATCH", "2"),
    *("SOLVER.BASE_LR", "0.001"),
    *("SOLVER.MAX_ITER", "2"),
    *("SOLVER.WARMUP_ITERS", "0"),
    *("SOLVER.STEPS", "()"),
]

TinyConfig = Callable[..., CfgNode]


def make_model(cfg: CfgNode, seed: int = 0) -> RelDN:
    """A RelDN with random weights that neither explode nor vanish, and a semantic table."""
    torch.manual_seed(seed)
    model: RelDN = build_model(cfg)
    calm_down(model)
    head: Any = model.relation_head
    semantic = head.pair_classifier.semantic
    if semantic is not None:
        semantic.set_counts(np.random.default_rng(seed).integers(0, 5, semantic.shape))
    return model


@torch.no_grad()
def calm_down(model: torch.nn.Module) -> None:
    """Scales random weights down: without trained batch normalisation their features would explode."""
    for name, parameter in model.named_parameters():
        if "res" in name and name.endswith("conv2.weight"):
            parameter.mul_(0.1)


def make_input(
    num_entities: int, relations: list[tuple[int, int, int]], *, seed: int = 0, size: int = 96
) -> dict[str, Any]:
    """One model input: noise with random boxes, as the mapper would give it."""
    random = np.random.default_rng(seed)
    corners = random.uniform(0, size - 24, (num_entities, 2))
    boxes = np.concatenate([corners, corners + random.uniform(8, 24, (num_entities, 2))], axis=1)
    instances = Instances((size, size))
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.tensor(random.integers(0, 6, num_entities), dtype=torch.long)
    return {
        "image": torch.from_numpy(random.integers(0, 256, (3, size, size), dtype=np.uint8)),
        "height": size,
        "width": size,
        "image_id": seed,
        "instances": instances,
        "relations": torch.tensor(relations, dtype=torch.long).reshape(-1, 3),
    }
