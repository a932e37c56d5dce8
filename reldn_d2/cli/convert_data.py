"""`reldn convert` for data sets (`vrd`, `label-studio` and so on): to COCO-relations files."""

import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from reldn_d2.data.conversion import Conversion, convert, digests_of_sources
from reldn_d2.data.datasets import vrd
from reldn_d2.data.datasets.authors_json import register_authors_json
from reldn_d2.data.datasets.coco_relations import read_class_names
from reldn_d2.data.datasets.label_studio import register_label_studio
from reldn_d2.data.datasets.openimages.vrd import MINI_SIZES, register_openimages_vrd
from reldn_d2.data.datasets.visual_genome import vg150
from reldn_d2.data.datasets.visual_genome.raw import register_visual_genome_raw
from reldn_d2.data.registration import datasets_root
from reldn_d2.utils.plain_text import say

from .common import FINISHED, InterruptedByUserError

_VG150_FILES = (
    *("VG-SGG-with-attri.h5", "VG-SGG-dicts-with-attri.json", "VG-SGG.h5", "VG-SGG-dicts.json"),
    "image_data.json",
)
_RAW_FILES = (
    *("objects.json", "relationships.json", "image_data.json"),
    *("object_alias.txt", "predicate_alias.txt"),
)
# Files of relationships and image labels of OpenImages, of the vocabulary, and of its names.
_OPENIMAGES_FILES = ("*vrd*.csv", "*triplets*.csv", "*description*.csv")


def run(args: Namespace) -> int:
    """Converts the data sets one after the other and prints the result of each. Returns the exit status."""
    folder, plan = _KINDS[args.command]
    if folder is not None:
        args.input = args.input or Path(datasets_root()) / folder
        args.output = args.output or args.input / "coco_relations"
    convert_all(plan(args), args.output, force=args.force)
    return FINISHED


def convert_all(conversions: Sequence[Conversion], output: Path, *, force: bool) -> None:
    """Converts data sets to files in `output`, and prints the result of each.

    Raises:
        FileNotFoundError, ValueError: see `convert`.
        InterruptedByUserError: the user pressed Ctrl-C.
    """
    done = 0
    try:
        digests = digests_of_sources(conversions)
        for conversion in conversions:
            say(convert(conversion, output, digests, force))
            done += 1
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            f"{done} of {len(conversions)} data sets are converted; the same command goes on"
        ) from None


def plan_vrd(args: Namespace) -> list[Conversion]:
    """The conversions of VRD, named after the folder. It may be another data set in VRD's layout."""
    annotations = args.input / "json_dataset"
    name = Path(os.path.abspath(args.input)).name
    return [
        Conversion(
            name=f"{name}_{split}",
            register=partial(vrd.register_vrd, root=args.input, split=split),
            sources=[
                annotations / f"annotations_{split}.json",
                annotations / "objects.json",
                annotations / "predicates.json",
            ],
            image_root=args.input / "sg_dataset" / f"sg_{split}_images",
            train=None if split == "train" else f"{name}_train",
        )
        for split in args.splits or vrd.SPLITS
    ]


def plan_visual_genome(args: Namespace) -> list[Conversion]:
    """The conversion of all images with their original names, or those of VG150 with the chosen filters."""
    if args.raw:
        register = partial(register_visual_genome_raw, root=args.input)
        sources = [args.input / name for name in _RAW_FILES]
        return [
            Conversion(name="visual_genome_raw", register=register, sources=sources, image_root=args.input)
        ]
    filters = {name: getattr(args, name) for name in ("keep_empty", "drop_duplicates", "overlapping_only")}
    return [
        Conversion(
            name=f"vg150_{split}",
            register=partial(vg150.register_vg150, root=args.input, split=split, **filters),
            sources=[args.input / name for name in _VG150_FILES],
            image_root=args.input,
            train={"val": "vg150_train", "test": "vg150_trainval"}.get(split),
        )
        for split in args.splits or vg150.SPLITS
    ]


def plan_openimages(args: Namespace) -> list[Conversion]:
    """The conversions of OpenImages VRD, or of its mini subset."""
    prefix = "openimages_vrd_mini" if args.mini else "openimages_vrd"
    return [
        Conversion(
            name=f"{prefix}_{split}",
            register=partial(register_openimages_vrd, root=args.input, split=split, mini=args.mini),
            sources=sorted({path for pattern in _OPENIMAGES_FILES for path in args.input.glob(pattern)}),
            image_root=args.input,
            train=None if split == "train" else f"{prefix}_train",
        )
        for split in args.splits or MINI_SIZES
    ]


def plan_authors_json(args: Namespace) -> list[Conversion]:
    """The conversion of one file of the paper's authors."""
    register = partial(
        register_authors_json,
        annotations_json=args.annotations,
        image_root=args.image_root,
        detections_json=args.detections,
        thing_classes=args.classes,
        predicate_classes=args.predicates,
    )
    sources = [args.annotations, args.detections, args.classes, args.predicates]
    return [
        Conversion(
            name=args.name or args.annotations.stem,
            register=register,
            sources=[path for path in sources if path is not None],
            image_root=args.image_root,
        )
    ]


def plan_label_studio(args: Namespace) -> list[Conversion]:
    """The conversion of an export, with its own classes or those of a COCO-relations file."""
    metadata, sources = {}, [args.input]
    if args.vocabulary is not None:
        things, predicates = read_class_names(args.vocabulary)
        metadata = {"thing_classes": things, "predicate_classes": predicates}
        sources.append(args.vocabulary)
    return [
        Conversion(
            name=args.name or args.input.stem,
            register=partial(
                register_label_studio,
                metadata=metadata,
                json_file=args.input,
                image_root=args.image_root,
                annotator=args.annotator,
                image_key=args.image_key,
                skip_missing_images=args.skip_missing_images,
            ),
            sources=sources,
            image_root=args.image_root,
        )
    ]


# Command -> its folder in the folder of all data sets, and its conversions.
_KINDS: dict[str, tuple[str | None, Callable[[Namespace], list[Conversion]]]] = {
    "convert vrd": ("vrd", plan_vrd),
    "convert visual-genome": ("vg", plan_visual_genome),
    "convert openimages": ("openimages_vrd", plan_openimages),
    "convert authors-json": (None, plan_authors_json),
    "convert label-studio": (None, plan_label_studio),
}
