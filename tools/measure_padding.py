#!/usr/bin/env python
"""Measures how much `reldn predict --pad` changes: batches of images of several sizes beside single images.

    python tools/measure_padding.py --input photos --weights scenes-tiny

Counted are the entities and relationships that an image alone gives, with at least the scores of the options.
An entity is found again if the batch gives a box of its class with an IoU of at least 0.9; a relationship, if
it gives one with the same predicate between such entities among the best of the image, with any score.
"""

import argparse
from pathlib import Path

import torch
from detectron2.structures import Boxes, pairwise_iou
from tabulate import tabulate
from torch import Tensor

from reldn_cli.flags import positive
from reldn_d2.engine import Prediction, RelationPredictor

_MIN_IOU = 0.9


def main() -> None:
    """Predicts the images three times, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="folder of images")
    parser.add_argument("--weights", required=True, help="as for reldn predict")
    parser.add_argument("--images", type=positive, default=200, help="largest number (default: %(default)s)")
    parser.add_argument("--batch-size", type=positive, default=8, help="default: %(default)s")
    parser.add_argument("--top-k", type=positive, default=20, help="relationships of an image; default: 20")
    parser.add_argument("--score-threshold", type=float, default=0.1, help="default: %(default)s")
    parser.add_argument("--entity-threshold", type=float, default=0.3, help="default: %(default)s")
    args = parser.parse_args()
    endings = {".jpg", ".jpeg", ".png"}
    found = sorted(path for path in args.input.rglob("*") if path.suffix.lower() in endings)
    images = [str(path) for path in found[: args.images]]
    if not images:
        parser.error(f"--input {args.input} has no image: give a folder of JPEG or PNG files")
    try:
        predictor = RelationPredictor.from_pretrained(args.weights, device="cpu")
    except (OSError, ValueError) as error:
        parser.error(f"--weights {error}")
    alone = predictor(images, batch_size=1)
    rows = []
    for name, pad in (("one size in a batch", False), ("several sizes (--pad)", True)):
        batched = predictor(images, batch_size=args.batch_size, pad=pad)
        kinds = (
            [_entities_again(*pair, args.entity_threshold) for pair in zip(alone, batched, strict=True)],
            [
                _relationships_again(*pair, args.top_k, args.score_threshold)
                for pair in zip(alone, batched, strict=True)
            ],
        )
        rows.append([name, *(f"{100 - 100 * torch.cat(kind).float().mean():.1f} %" for kind in kinds)])
    print(f"{len(images)} images, batches of up to {args.batch_size}")
    print(tabulate(rows, ["batches", "entities lost", "relationships lost"], "pipe"))


def _same(one: Prediction, other: Prediction) -> Tensor:
    """(E, E') bool, which entities of two answers are the same."""
    a, b = one["instances"], other["instances"]
    iou = pairwise_iou(Boxes(a.pred_boxes.tensor), Boxes(b.pred_boxes.tensor))
    same: Tensor = (iou >= _MIN_IOU) & (a.pred_classes[:, None] == b.pred_classes)
    return same


def _entities_again(one: Prediction, other: Prediction, threshold: float) -> Tensor:
    """For each entity of the first answer with at least this score, whether the other has it, too."""
    again: Tensor = _same(one, other).any(dim=1)
    return again[one["instances"].scores >= threshold]


def _relationships_again(one: Prediction, other: Prediction, top_k: int, threshold: float) -> Tensor:
    """For each relationship that the first answer shows, whether it is among the best of the other."""
    same = _same(one, other)
    a, b = (x["relations"][x["relations"].rank_in_pair == 1][:top_k] for x in (one, other))
    a = a[a.scores >= threshold]
    again = same[a.subject_index[:, None], b.subject_index] & same[a.object_index[:, None], b.object_index]
    found: Tensor = (again & (a.pred_predicates[:, None] == b.pred_predicates)).any(dim=1)
    return found


if __name__ == "__main__":
    main()
