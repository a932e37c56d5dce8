#!/usr/bin/env python
r"""Writes the file of detection scores that the row "sgdet" of the benchmark ranks.

python tools/benchmarks/make_detections.py --dataset reldn_vrd_mini_test \
    --detections output/vrd_mini/detections/reldn_vrd_mini_test.npz \
    --weights output/vrd_mini/semantic_spatial_eps0.001/model_final.pth

The file holds the first photos of a data set with at least `--least` detections. It also holds the semantic
table and the spatial module of a model without pixels (configs/vrd/semantic_spatial.yaml, with the paper's
MODEL.ROI_RELATION_HEAD.SEMANTIC.EPS 0.001). So predicate scores are those of a trained model, and the file
stays small.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog

from reldn_d2.data import load_detections_into_dataset
from reldn_d2.engine import vocabulary_of
from reldn_d2.modeling import RelDNHead
from reldn_d2.utils.io import atomic_write

_HEAD = f"relation_head.{RelDNHead.LAYER_PATHS['semantic_table'].partition('.')[0]}."


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--detections", type=Path, required=True, help="file of tools/cache_detections.py")
    parser.add_argument(
        "--weights", type=Path, required=True, help="checkpoint of configs/vrd/semantic_spatial.yaml"
    )
    parser.add_argument("--photos", type=int, default=4, help="number of photos")
    parser.add_argument("--least", type=int, default=100, help="least number of detections in a photo")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).with_name("vrd_mini_detections.npz"),
        help="file to write",
    )
    args = parser.parse_args()

    classes = vocabulary_of(args.dataset).thing_classes
    dataset = load_detections_into_dataset(DatasetCatalog.get(args.dataset), args.detections, classes)
    photos = [d for d in dataset if len(d["detections"]["scores"]) >= args.least][: args.photos]
    if len(photos) < args.photos:
        parser.error(f"{args.detections} has only {len(photos)} photos with {args.least} detections")
    weights = torch.load(args.weights, weights_only=True)["model"]
    prior = weights[f"{_HEAD}semantic.log_prior"]
    # Most pairs of classes were never seen and share a row.
    rows, row = np.unique(prior.flatten(0, 1).numpy(), axis=0, return_inverse=True)
    spatial = {
        name.removeprefix(_HEAD): value.numpy()
        for name, value in weights.items()
        if name.startswith(f"{_HEAD}spatial.")
    }
    arrays = {
        "sizes": np.array([(d["height"], d["width"]) for d in photos]),
        "counts": np.array([len(d["detections"]["scores"]) for d in photos]),
        "boxes": np.concatenate([d["detections"]["boxes"] for d in photos]),
        "scores": np.concatenate([d["detections"]["scores"] for d in photos]),
        "classes": np.concatenate([d["detections"]["classes"] for d in photos]),
        "prior_rows": rows,
        "prior_row": row.reshape(prior.shape[:2]).astype(np.uint16),
        **spatial,
    }
    with atomic_write(args.output) as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    size = args.output.stat().st_size // 1000
    print(f"{args.output}: {size} kB, {arrays['counts'].tolist()} detections")


if __name__ == "__main__":
    main()
