"""Trains a detector, then RelDN on top of it, and finds the relationships of one image."""

import argparse
import json
from pathlib import Path

import backbone  # noqa: F401  registers ThreeConvolutions
import cv2
from config import load_config
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.engine import DefaultPredictor
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from shapes import PREDICATES, SHAPES, register_shapes
from trainer import Trainer


def train(cfg: CfgNode) -> str:
    """Trains and evaluates a model, and returns the path of its final checkpoint."""
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return str(Path(cfg.OUTPUT_DIR) / "model_final.pth")


def main() -> None:
    """Trains both stages and writes the relationships of one test image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("tiny_project_output"))
    parser.add_argument("--detector-steps", type=int)
    parser.add_argument("--relation-steps", type=int)
    args = parser.parse_args()
    setup_logger(str(args.output))
    seed_all_rng(1)
    register_shapes(args.output / "pictures")

    detector = train(load_config("detector.yaml", args.output / "detector", args.detector_steps))
    cfg = load_config("reldn.yaml", args.output / "reldn", args.relation_steps)
    cfg.MODEL.WEIGHTS = detector
    cfg.MODEL.WEIGHTS = train(cfg)

    picture = cv2.imread(DatasetCatalog.get("shapes_test")[0]["file_name"])
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
