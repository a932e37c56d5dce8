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
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--input", type=Path, required=True, help="an image, or a folder of images")
    parser.add_argument("--weights", type=Path, required=True, help="a trained checkpoint")
    parser.add_argument("--config-file", type=Path, help="its configuration (default: config.yaml beside it)")
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder for the results")
    parser.add_argument("--top-k", type=int, default=20, help="relationships an image, 1 to 100")
    parser.add_argument("--predicates-per-pair", type=int, default=1, help="most predicates of a pair")
    parser.add_argument("--score-threshold", type=float, default=0.1, help="leave out relationships below")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="configuration changes: KEY VALUE ...")
    return parser.parse_args(arguments)


def find_images(path: Path) -> list[Path]:
    """The image itself, or the images of a folder (by their extension), sorted by name."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"--input {path}: no such file or folder")
    images = sorted(child for child in path.iterdir() if child.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise ValueError(f"--input {path}: no image in this folder; looked for {sorted(IMAGE_SUFFIXES)}")
    return images


def output_names(images: Sequence[Path]) -> list[str]:
    """A different name for every image: its stem, or the whole file name if any two images share a stem."""
    stems = [image.stem for image in images]
    return stems if len(set(stems)) == len(stems) else [image.name for image in images]


def predict_folder(
    predictor: RelationPredictor, images: Sequence[Path], args: argparse.Namespace
) -> list[str]:
    """Write the results of every image; the complaints about unreadable ones are returned."""
    problems = []
    for path, name in zip(tqdm(images, unit="image"), output_names(images), strict=True):
        try:
            image = read_image(str(path), "BGR")
        except (FileNotFoundError, ValueError) as error:
            problems.append(str(error))
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
    """Run the command line; the exit status is returned."""
    args = parse_arguments(arguments)
    images = find_images(args.input)
    if args.output.resolve() in {image.resolve().parent for image in images}:
        raise ValueError(f"--output {args.output} is the images' own folder; results could replace images")
    config_file = args.config_file or args.weights.parent / "config.yaml"
    for option, path in (("--weights", args.weights), ("--config-file", config_file)):
        if not path.is_file():
            raise FileNotFoundError(f"{option}: no file {path}")
    kind = kind_of_config(config_file)
    cfg = load_config(str(config_file), [*args.opts, *kind.override(kind.keys.weights, args.weights)])
    problems = predict_folder(RelationPredictor(cfg), images, args)
    print(f"{len(images) - len(problems)} of {len(images)} images done, results in {args.output}")
    print(*problems, sep="\n", end="", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
