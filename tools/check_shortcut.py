#!/usr/bin/env python
"""Check that boxes and classes alone do not show who holds or plays a thing in the drawn scenes.

python tools/check_shortcut.py --weights output/demo/semantic_spatial/model_final.pth

Counts the confusable cases that a model without visual module solves. The scenes are used neither in training
nor in the demo's evaluation. No image is drawn. The share of solved cases should be near the chance level.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from tabulate import tabulate
from tqdm import trange

from reldn_d2.data.synthetic import BUILTIN_DATASETS, confusable_cases, make_scene, scene_dict
from reldn_d2.engine import load_config, load_model
from reldn_d2.modeling.relation_head import entity_batch
from reldn_d2.structures import Queries


@torch.no_grad()
def main() -> None:
    """Print how many confusable cases the model solves, beside the chance level."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--weights", type=Path, required=True, help="weights of a model without visual module"
    )
    parser.add_argument("--scenes", type=int, default=3000, help="number of scenes (default: 3000)")
    args = parser.parse_args()
    cfg = load_config(str(args.weights.parent / "config.yaml"), ["MODEL.WEIGHTS", str(args.weights)])
    cfg.DATASETS.TEST = ("reldn_scenes_test",)
    model: Any = load_model(cfg)
    head = model.relation_head
    if head.uses_detector_features:
        parser.error(f"{args.weights} belongs to a model that uses pixels: give one without visual module")
    split, used = BUILTIN_DATASETS["reldn_scenes_test"]
    solved: dict[str, list[bool]] = {}
    chance: dict[str, list[float]] = {}
    for index in trange(used, used + args.scenes):
        scene = scene_dict(make_scene(split, index), "", index)
        cases = confusable_cases(scene)
        candidates = sorted({triplet for case in cases for triplet in (case.relation, *case.wrong)})
        if not candidates:
            continue
        rows = torch.tensor(candidates)
        entities = Instances((scene["height"], scene["width"]))
        entities.pred_boxes = Boxes(torch.tensor([a["bbox"] for a in scene["annotations"]]))
        entities.pred_classes = torch.tensor([a["category_id"] for a in scene["annotations"]])
        entities.scores = torch.ones(len(entities))
        queries = [Queries.from_rows(pairs=rows[:, :2])]
        (output,) = head.inference({}, None, entity_batch([entities]), entities_given=True, queries=queries)
        probs = output["pair_answers"].predicate_probs.gather(1, rows[:, 2:])[:, 0].tolist()
        score = dict(zip(candidates, probs, strict=True))
        for case in cases:
            solved.setdefault(case.kind, []).append(case.is_solved(score))
            chance.setdefault(case.kind, []).append(case.chance)
    table = [
        [kind, len(flags), 100 * np.mean(flags), 100 * np.mean(chance[kind])]
        for kind, flags in solved.items()
    ]
    print(tabulate(table, ["kind", "cases", "solved, percent", "chance, percent"], floatfmt=".1f"))


if __name__ == "__main__":
    main()
