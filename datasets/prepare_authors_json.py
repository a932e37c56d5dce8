#!/usr/bin/env python
r"""Converts the JSON files that the paper's authors published to a COCO-relations file.

python datasets/prepare_authors_json.py --annotations rel_annotations_train.json --images train_images \
    --classes objects.json --predicates predicates.json --output coco_relations

Files that were converted before are written again only if their sources have changed.
"""

import argparse
from functools import partial
from pathlib import Path

from reldn_d2.data.conversion import Conversion
from reldn_d2.data.datasets.authors_json import register_authors_json
from reldn_d2.engine import setup_console
from reldn_d2.engine.conversion_command import run_conversions


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--annotations", type=Path, required=True, help="rel_annotations_*.json")
    parser.add_argument("--detections", type=Path, help="detections_*.json, with all entities")
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--classes", type=Path, required=True, help="JSON list of the entity classes")
    parser.add_argument("--predicates", type=Path, required=True, help="JSON list of the predicates")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--name", help="name of the file to write (default: the name of --annotations)")
    parser.add_argument("--force", action="store_true", help="convert again even if nothing has changed")
    args = parser.parse_args()
    setup_console()
    register = partial(
        register_authors_json,
        annotations_json=args.annotations,
        image_root=args.images,
        detections_json=args.detections,
        thing_classes=args.classes,
        predicate_classes=args.predicates,
    )
    sources = [args.annotations, args.detections, args.classes, args.predicates]
    conversion = Conversion(
        name=args.name or args.annotations.stem,
        register=register,
        sources=[path for path in sources if path is not None],
        image_root=args.images,
    )
    run_conversions([conversion], args.output, args.force)


if __name__ == "__main__":
    main()
