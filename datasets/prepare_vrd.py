#!/usr/bin/env python
"""Converts VRD to COCO-relations files, one for each split.

python datasets/prepare_vrd.py

README.md in this folder says where the official files come from and where they belong. What was converted before and has
not changed is left alone.
"""

from functools import partial

from reldn_d2.data.conversion import Conversion, command_line, run
from reldn_d2.data.datasets.vrd import SPLITS, register_vrd
from reldn_d2.engine import setup_console


def main() -> None:
    parser = command_line(__doc__, "vrd")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS, help="default: all")
    args = parser.parse_args()
    setup_console()
    annotations = args.root / "json_dataset"
    conversions = [
        Conversion(
            name=f"vrd_{split}",
            register=partial(register_vrd, root=args.root, split=split),
            sources=[
                annotations / f"annotations_{split}.json",
                annotations / "objects.json",
                annotations / "predicates.json",
            ],
            image_root=args.root / "sg_dataset" / f"sg_{split}_images",
            train=None if split == "train" else "vrd_train",
        )
        for split in args.splits
    ]
    run(conversions, args.output or args.root / "coco_relations", args.force)


if __name__ == "__main__":
    main()
