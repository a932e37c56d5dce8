"""Share of right labels at given boxes (sgcls): those of MotifsHead, and those of the detector alone."""

import argparse
from pathlib import Path
from typing import Any

import torch
from motifs_head import MotifsHead

from reldn_d2.engine import load_config, load_model, parts_of
from reldn_d2.modeling import RelationHead


def main() -> None:
    """Prints both shares, in percent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="folder of a training")
    args = parser.parse_args()
    weights = ["MODEL.WEIGHTS", str(args.weights / "model_final.pth")]
    cfg: Any = load_config(str(args.weights / "config.yaml"), weights)
    model: Any = load_model(cfg)
    model.task = "sgcls"
    right, right_alone, count = 0, 0, 0
    for name in cfg.DATASETS.TEST:
        for batch in parts_of(cfg).test_loader(name):
            labels = torch.cat([x["instances"].gt_classes for x in batch])
            refined = torch.cat([x["instances"].pred_classes for x in model(batch)])
            refine, MotifsHead.refine_entities = MotifsHead.refine_entities, RelationHead.refine_entities
            alone = torch.cat([x["instances"].pred_classes for x in model(batch)])
            MotifsHead.refine_entities = refine
            right += int((refined == labels).sum())
            right_alone += int((alone == labels).sum())
            count += len(labels)
    shares = f"MotifsHead {100 * right / count:.2f} %, detector {100 * right_alone / count:.2f} %"
    print(f"of {count} entities: {shares}")


if __name__ == "__main__":
    main()
