#!/usr/bin/env python
"""Runs a trained detector over data sets and keeps what it found, for relation runs that share it.

python tools/cache_detections.py --config-file configs/scenes/detector.yaml --output output/scenes/detections \\
    MODEL.WEIGHTS output/scenes/detector/model_final.pth

writes one file per data set of DATASETS.TRAIN and DATASETS.TEST. Relation runs take them as
DATASETS.DETECTION_FILES_TRAIN and DATASETS.DETECTION_FILES_TEST. Files newer than the weights are kept.
"""

import argparse
from pathlib import Path

from reldn_d2.checkpoint import WeightSource
from reldn_d2.engine import cache_detections, load_config, load_model, setup_console


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config-file", required=True, help="of the detector")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides of the config")
    args = parser.parse_args()
    cfg = load_config(args.config_file, args.opts)
    setup_console()
    model = load_model(cfg)
    weights = Path(WeightSource.parse(cfg.MODEL.WEIGHTS).address)
    trained = weights.stat().st_mtime if weights.is_file() else float("inf")
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        path = args.output / f"{name}.npz"
        if path.exists() and path.stat().st_mtime > trained:
            print(f"{path} is newer than the weights, kept")
        else:
            cache_detections(cfg, model, name, path)


if __name__ == "__main__":
    main()
