#!/usr/bin/env python
"""Predict the scene graphs of images: a JSON graph and a drawing for each.

Examples::

    python tools/predict.py --input photo.jpg --weights output/model_final.pth
    python tools/predict.py --input photos/ --weights model.pth --config-file configs/x.yaml MODEL.DEVICE cpu
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from reldn_d2.data.images import read_image
from reldn_d2.engine import RelationPredictor, kind_of_config, load_config
from reldn_d2.utils.io import atomic_write
from reldn_d2.visualization import draw_scene_graph, scene_graph_to_dict, write_scene_graph

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--input", type=Path, required=True, help="an image, or a folder of images")
    add("--weights", type=Path, required=True, help="a trained checkpoint")
    config_help = "its config, in YAML or Python (default: config.yaml in the folder of the weights)"
    add("--config-file", type=Path, help=config_help)
    output_help = "folder for the results (default: %(default)s)"
    add("--output", type=Path, default=Path("predictions"), help=output_help)
    add("--top-k", type=int, default=20, help="relationships in an image, 1 to 100 (default: %(default)s)")
    pair_help = "largest number of predicates of a pair (default: %(default)s)"
    add("--predicates-per-pair", type=int, default=1, help=pair_help)
    score_help = "lowest score of a relationship (default: %(default)s)"
    add("--score-threshold", type=float, default=0.1, help=score_help)
    opts_help = "overrides of the config: KEY VALUE, or key=value for a Python config"
    add("opts", nargs=argparse.REMAINDER, help=opts_help)
    return parser.parse_args(arguments)


def find_images(path: Path) -> list[Path]:
    """The image itself, or the images of a folder (files with an image's extension), sorted by name.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the folder has no image.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"--input {path}: no such file or folder")
    images = sorted(child for child in path.iterdir() if child.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"--input {path}: no image in this folder (no file that ends in {endings})")
    return images


def output_names(images: Sequence[Path]) -> list[str]:
    """A different name for every image: the stem, or the whole file name if two images have the same stem."""
    stems = [image.stem for image in images]
    return stems if len(set(stems)) == len(stems) else [image.name for image in images]


def predict_folder(
    predictor: RelationPredictor, images: Sequence[Path], args: argparse.Namespace
) -> list[str]:
    """Predict and write the scene graph of every image. Returns a message for each unreadable image."""
    problems = []
    for path, name in zip(tqdm(images, unit="image"), output_names(images), strict=True):
        try:
            image = read_image(str(path), "BGR")
        except (FileNotFoundError, ValueError) as error:
            problems.append(
                f"{path} cannot be read ({error.__cause__}): replace it, or take it out of --input"
            )
            continue
        graph = scene_graph_to_dict(
            predictor(image), predictor.thing_classes, predictor.predicate_classes, file_name=path.name,
            top_k=args.top_k, predicates_per_pair=args.predicates_per_pair,
            score_threshold=args.score_threshold,
        )  # fmt: skip
        drawing = draw_scene_graph(np.ascontiguousarray(image[..., ::-1]), graph, top_n=args.top_k)
        write_scene_graph(graph, args.output / f"{name}.json")
        with atomic_write(args.output / f"{name}.png") as file:
            file.write(cv2.imencode(".png", np.ascontiguousarray(drawing[..., ::-1]))[1].tobytes())
    return problems


def main(arguments: Sequence[str]) -> int:
    """Run the command line. Returns the exit status."""
    args = parse_arguments(arguments)
    images = find_images(args.input)
    if args.output.resolve() in {image.resolve().parent for image in images}:
        raise ValueError(
            f"--output {args.output} is the images' own folder, where results could replace images: choose "
            "another folder"
        )
    config_file = args.config_file or args.weights.parent / "config.yaml"
    for option, path in (("--weights", args.weights), ("--config-file", config_file)):
        if not path.is_file():
            raise FileNotFoundError(f"{option}: there is no file {path}")
    kind = kind_of_config(config_file)
    cfg = load_config(str(config_file), [*args.opts, *kind.override(kind.keys.weights, args.weights)])
    problems = predict_folder(RelationPredictor(cfg), images, args)
    done = len(images) - len(problems)
    print(f"predicted the scene graphs of {done} of {len(images)} images; the results are in {args.output}")
    print(*problems, sep="\n", end="", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
