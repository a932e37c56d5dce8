#!/usr/bin/env python
"""Converts Visual Genome to COCO-relations files: one for each split of VG150, or one for all images.

python datasets/prepare_visual_genome.py
python datasets/prepare_visual_genome.py --raw

README.md in this folder says where to get the official files and where to put them.
Files that were converted before are written again only if their sources have changed.
"""

import argparse
from functools import partial

from reldn_d2.data.conversion import Conversion
from reldn_d2.data.datasets.visual_genome.raw import register_visual_genome_raw
from reldn_d2.data.datasets.visual_genome.vg150 import SPLITS, register_vg150
from reldn_d2.engine import setup_console
from reldn_d2.engine.conversion_command import conversion_parser, run_conversions

VG150_FILES = (
    "VG-SGG-with-attri.h5",
    "VG-SGG-dicts-with-attri.json",
    "VG-SGG.h5",
    "VG-SGG-dicts.json",
    "image_data.json",
)
RAW_FILES = (
    "objects.json",
    "relationships.json",
    "image_data.json",
    "object_alias.txt",
    "predicate_alias.txt",
)
FILTERS = ("keep_empty", "drop_duplicates", "overlapping_only")


def main() -> None:
    """Runs the command."""
    parser = conversion_parser(__doc__, "vg")
    parser.add_argument("--raw", action="store_true", help="from objects.json and relationships.json")
    vg150 = parser.add_argument_group("without --raw")
    vg150.add_argument("--splits", nargs="+", choices=SPLITS, help="default: all")
    for option in FILTERS:
        help_text = f"as load_vg150({option}=True)"
        vg150.add_argument(f"--{option.replace('_', '-')}", action="store_true", help=help_text)
    args = parser.parse_args()
    ignored = [option for option in ("splits", *FILTERS) if getattr(args, option)]
    if args.raw and ignored:
        parser.error(f"--raw converts all images as annotated: leave out --{ignored[0].replace('_', '-')}")
    setup_console()
    conversions = [raw(args)] if args.raw else [vg150_split(args, split) for split in args.splits or SPLITS]
    run_conversions(conversions, args.output or args.root / "coco_relations", args.force)


def raw(args: argparse.Namespace) -> Conversion:
    """The conversion of all images with their original names."""
    return Conversion(
        name="visual_genome_raw",
        register=partial(register_visual_genome_raw, root=args.root),
        sources=[args.root / name for name in RAW_FILES],
        image_root=args.root,
    )


def vg150_split(args: argparse.Namespace, split: str) -> Conversion:
    """The conversion of a split of VG150, with the filters of the command line."""
    filters = {option: getattr(args, option) for option in FILTERS}
    return Conversion(
        name=f"vg150_{split}",
        register=partial(register_vg150, root=args.root, split=split, **filters),
        sources=[args.root / name for name in VG150_FILES],
        image_root=args.root,
        train={"val": "vg150_train", "test": "vg150_trainval"}.get(split),
    )


if __name__ == "__main__":
    main()
