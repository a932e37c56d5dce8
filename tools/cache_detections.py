#!/usr/bin/env python
r"""Run a trained detector over data sets and save its detections, for RelDN runs that share the detector.

python tools/cache_detections.py --config-file configs/scenes/detector.yaml \
    --output output/scenes/detections MODEL.WEIGHTS output/scenes/detector/model_final.pth

This writes one file for each training set and test set of the config. RelDN runs take the files as
DATASETS.DETECTION_FILES_TRAIN and DATASETS.DETECTION_FILES_TEST; in Python configs the keys are
datasets.train_detections and datasets.test_detections. Existing files are kept if they were made with the
same weights and config. Files of another detector are made again.
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
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config-file", required=True, help="config of the detector, in YAML or Python")
    parser.add_argument("--output", type=Path, required=True, help="folder for the files")
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        help="overrides of the config: KEY VALUE, or key=value for a Python config",
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
            print(f"{path} is kept: it was made with these weights and this config")
        else:
            cache_detections(cfg, model, name, path)


if __name__ == "__main__":
    main()
