#!/usr/bin/env python
"""Runs a trained detector over data sets and keeps what it found, for relation runs that share it.

python tools/cache_detections.py --config-file configs/scenes/detector.yaml --output output/scenes/detections \\
    MODEL.WEIGHTS output/scenes/detector/model_final.pth

writes one file per data set of DATASETS.TRAIN and DATASETS.TEST. Relation runs take them as
DATASETS.DETECTION_FILES_TRAIN and DATASETS.DETECTION_FILES_TEST. Files of the same weights and config are kept; those of
another detector are made again.
"""

import argparse
from pathlib import Path

from reldn_d2.data import detections_made_by
from reldn_d2.engine import (
    cache_detections,
    detector_identity,
    load_config,
    load_model,
    parts_of,
    setup_console,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config-file", required=True, help="of the detector")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        help="overrides of the config: KEY VALUE, or key=value of a Python config",
    )
    args = parser.parse_args()
    cfg = load_config(args.config_file, args.opts)
    setup_console()
    model = load_model(cfg)
    identity = detector_identity(cfg, model)
    parts = parts_of(cfg)
    for name in (*parts.train_datasets, *parts.test_datasets):
        path = args.output / f"{name}.npz"
        if detections_made_by(path) == identity:
            print(f"{path} is of these weights and this config, kept")
        else:
            cache_detections(cfg, model, name, path)


if __name__ == "__main__":
    main()
