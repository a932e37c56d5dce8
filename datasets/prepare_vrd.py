#!/usr/bin/env python
"""Converts VRD to COCO-relations files, one for each split.

python datasets/prepare_vrd.py

README.md in this folder says where to get the official files and where to put them. The written files are
named after the folder. Files that were converted before are written again only if their sources have
changed.
"""

import os
from functools import partial
from pathlib import Path

from reldn_d2.data.conversion import Conversion
from reldn_d2.data.datasets.vrd import SPLITS, register_vrd
from reldn_d2.engine import setup_console
from reldn_d2.engine.conversion_command import conversion_parser, run_conversions


def main() -> None:
    """Runs the command."""
    parser = conversion_parser(__doc__, "vrd")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS, help="default: all")
    args = parser.parse_args()
    setup_console()
    annotations = args.root / "json_dataset"
    # vrd, or vrd_mini, or another data set in this layout
    name = Path(os.path.abspath(args.root)).name
    conversions = [
        Conversion(
            name=f"{name}_{split}",
            register=partial(register_vrd, root=args.root, split=split),
            sources=[
                annotations / f"annotations_{split}.json",
                annotations / "objects.json",
                annotations / "predicates.json",
            ],
            image_root=args.root / "sg_dataset" / f"sg_{split}_images",
            train=None if split == "train" else f"{name}_train",
        )
        for split in args.splits
    ]
    run_conversions(conversions, args.output or args.root / "coco_relations", args.force)


if __name__ == "__main__":
    main()
