#!/usr/bin/env python
"""Converts the visual relationships of OpenImages to COCO-relations files, one for each split.

python datasets/prepare_openimages_vrd.py
python datasets/prepare_openimages_vrd.py --mini

README.md in this folder says where to get the official files and where to put them. Attributes are not
converted. Files that were converted before are written again only if their sources have changed.
"""

from functools import partial

from reldn_d2.data.conversion import Conversion
from reldn_d2.data.datasets.openimages.files import SPLITS
from reldn_d2.data.datasets.openimages.vrd import MINI_SIZES, register_openimages_vrd
from reldn_d2.engine import setup_console
from reldn_d2.engine.conversion_command import conversion_parser, run_conversions

# Files of relationships and image labels, of the vocabulary, and of its names.
SOURCES = ("*vrd*.csv", "*triplets*.csv", "*description*.csv")


def main() -> None:
    """Runs the command."""
    parser = conversion_parser(__doc__, "openimages_vrd")
    parser.add_argument("--mini", action="store_true", help="only the mini subset of train and val")
    default = list(MINI_SIZES)
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=default, help="default: %(default)s")
    args = parser.parse_args()
    setup_console()
    prefix = "openimages_vrd_mini" if args.mini else "openimages_vrd"
    conversions = [
        Conversion(
            name=f"{prefix}_{split}",
            register=partial(register_openimages_vrd, root=args.root, split=split, mini=args.mini),
            sources=sorted({path for pattern in SOURCES for path in args.root.glob(pattern)}),
            image_root=args.root,
            train=None if split == "train" else f"{prefix}_train",
        )
        for split in args.splits
    ]
    run_conversions(conversions, args.output or args.root / "coco_relations", args.force)


if __name__ == "__main__":
    main()
