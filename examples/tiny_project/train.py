"""Trains a detector, then RelDN on top of it, and finds the relationships of one image."""

import argparse
import json
from pathlib import Path
from typing import Any

import backbone  # noqa: F401  registers ThreeConvolutions
import cv2
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, build_detection_train_loader
from detectron2.engine import DefaultPredictor, DefaultTrainer
from shapes import PREDICATES, SHAPES, register_shapes
from torch import nn

from reldn_d2 import add_reldn_config
from reldn_d2.data import RelationDatasetMapper
from reldn_d2.engine import set_predicate_statistics
from reldn_d2.modeling import RelDN


class Trainer(DefaultTrainer):
    """Detectron2's DefaultTrainer with two changes: the semantic table and the mapper."""

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Builds the model. RelDN also gets its semantic table, counted on the training images."""
        model: nn.Module = super().build_model(cfg)
        if isinstance(model, RelDN):
            set_predicate_statistics(model, cfg, DatasetCatalog.get(cfg.DATASETS.TRAIN[0]))
        return model

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        """Builds a loader whose mapper passes relationships to the model."""
        return build_detection_train_loader(cfg, mapper=RelationDatasetMapper(cfg, is_train=True))


def make_config(output: Path, meta_architecture: str, steps: int) -> CfgNode:
    """Makes the config of one stage.

    Args:
        output: folder for checkpoints and logs.
        meta_architecture: "GeneralizedRCNN" for the detector, "RelDN" for the second stage.
        steps: number of training steps.
    """
    cfg = get_cfg()
    add_reldn_config(cfg)
    cfg.OUTPUT_DIR = str(output)
    cfg.MODEL.META_ARCHITECTURE = meta_architecture
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.MASK_ON = False
    cfg.MODEL.PIXEL_STD = [58.0, 58.0, 58.0]
    cfg.MODEL.BACKBONE.NAME = "ThreeConvolutions"
    cfg.MODEL.RPN.IN_FEATURES = cfg.MODEL.ROI_HEADS.IN_FEATURES = ["map"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 22]]
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [[1.0]]
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 50
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(SHAPES)
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 64
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 5
    cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES = len(PREDICATES)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.RANDOM_FLIP = (64,), 64, "none"
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("shapes_train",), ()
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR = 8, 0.02
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_ITERS = steps, (), min(20, steps)
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = True, "norm"
    return cfg


def train(cfg: CfgNode) -> str:
    """Trains a model and returns the path of its final checkpoint."""
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return str(Path(cfg.OUTPUT_DIR) / "model_final.pth")


def main() -> None:
    """Trains both stages and writes the relationships of one image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("tiny_project_output"))
    parser.add_argument("--detector-steps", type=int, default=300)
    parser.add_argument("--relation-steps", type=int, default=100)
    args = parser.parse_args()
    register_shapes("shapes_train", args.output / "pictures", count=40)

    detector = train(make_config(args.output / "detector", "GeneralizedRCNN", args.detector_steps))
    cfg = make_config(args.output / "reldn", "RelDN", args.relation_steps)
    cfg.MODEL.WEIGHTS = detector
    cfg.MODEL.WEIGHTS = train(cfg)

    picture = cv2.imread(DatasetCatalog.get("shapes_train")[0]["file_name"])
    found = DefaultPredictor(cfg)(picture)
    shapes, relations = found["instances"], found["relations"]
    names = [SHAPES[i] for i in shapes.pred_classes]
    triplets = [
        {"subject": names[s], "predicate": PREDICATES[p], "object": names[o], "score": round(float(score), 3)}
        for s, o, p, score in zip(
            relations.subject_index,
            relations.object_index,
            relations.pred_predicates,
            relations.scores,
            strict=True,
        )
    ]
    (args.output / "relationships.json").write_text(json.dumps(triplets[:5], indent=1))
    print(*triplets[:5], sep="\n")


if __name__ == "__main__":
    main()
