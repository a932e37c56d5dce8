"""`reldn predict`: a JSON graph and a drawing for each image."""

import re
from argparse import Namespace
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import count
from pathlib import Path
from unicodedata import normalize

import numpy as np

from reldn_d2.data.images import read_image
from reldn_d2.engine import RelationPredictor, parts_of
from reldn_d2.renamed import OLD_KEYS
from reldn_d2.utils.inner_paths import short_file_name
from reldn_d2.utils.plain_text import say, visible
from reldn_d2.utils.progress import progress
from reldn_d2.utils.system_errors import extended, is_explained
from reldn_d2.visualization import SceneGraph, draw_scene_graph, scene_graph_to_dict, write_scene_graph
from reldn_d2.visualization.images import write_png

from .common import (
    FINISHED,
    PROBLEMS,
    InterruptedByUserError,
    find_weights,
    load_run_config,
    near_misses,
    prepare,
)

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

# Names that Windows gives to devices, with any ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)


def run(args: Namespace) -> int:
    """Predicts the scene graphs of the images. Returns the exit status."""
    prepare(args)
    cfg = load_run_config(args, ("weights", "device"), weights=find_weights(args.weights)).cfg
    images = find_images(args.input, {*parts_of(cfg).settings(), *OLD_KEYS})
    if args.output.is_file():
        raise ValueError(f"--output {args.output} is a file: give a folder")
    if args.output.resolve() in {image.resolve().parent for image in images}:
        raise ValueError(
            f"--output {args.output} is the images' own folder, where results could replace images: choose "
            "another folder"
        )
    problems, empty = predict_images(RelationPredictor(cfg), images, args)
    done = len(images) - len(problems)
    say(f"predicted the scene graphs of {done} of {len(images)} images; the results are in {args.output}")
    if empty:
        say(
            f"{empty} of them have no relationship with a score of {args.score_threshold:g} or more: try a "
            "lower --score-threshold"
        )
    for problem in problems:
        say(visible(problem), error=True)
    return PROBLEMS if problems else FINISHED


def find_images(inputs: Sequence[str], keys: Collection[str]) -> list[Path]:
    """The images that --input names, in its order; those of a folder (by their extension) are sorted by name.

    Prints what is left out of the folders.

    Args:
        inputs: files and folders.
        keys: keys of the config, for the error about a misspelt override.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a folder has no image.
    """
    images: list[Path] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            images += _images_of(path)
        elif path.is_file():
            images.append(path)
        else:
            raise FileNotFoundError(f"--input {text}: no such file or folder{near_misses(text, keys)}")
    return list(dict.fromkeys(images))


def _images_of(folder: Path) -> list[Path]:
    children = sorted(folder.iterdir())
    images = [child for child in children if child.suffix.lower() in IMAGE_SUFFIXES and child.is_file()]
    endings = ", ".join(sorted(IMAGE_SUFFIXES))
    if not images:
        raise ValueError(f"--input {folder}: no image in this folder (no file that ends in {endings})")
    folders = sum(child.is_dir() for child in children)
    others = len(children) - len(images) - folders
    if folders or others:
        say(f"{folder}: left out {others} files that do not end in {endings}, and {folders} subfolders")
    return images


def output_names(images: Sequence[Path]) -> list[str]:
    """A different name for every image: its stem, or more of its path if two images have the same.

    Names come from other people. Each is one that can be written on any system, that is not hidden and that
    stays in its folder; some signs become "_". They differ also where capital letters are not told from small
    ones. A name that is too long for a file system ends in a digest instead.
    """
    names = [_plain_name(image.stem) for image in images]
    longer_names = [image.name for image in images], ["_".join(image.resolve().parts[1:]) for image in images]
    for longer in longer_names:
        several = Counter(map(_compared, names))
        names = [
            _plain_name(other) if several[_compared(name)] > 1 else name
            for name, other in zip(names, longer, strict=True)
        ]
    several = Counter(map(_compared, names))
    taken = {name for name, number in several.items() if number == 1}
    for i, name in enumerate(names):
        if several[_compared(name)] > 1:
            numbered = (f"{name}_{number}" for number in count(1))
            names[i] = next(other for other in numbered if _compared(other) not in taken)
            taken.add(_compared(names[i]))
    return names


def _plain_name(name: str) -> str:
    plain = visible(name).replace("\\", "_").replace("/", "_").strip(" .") or "_"
    return short_file_name(f"_{plain}" if _DEVICE.match(plain) else plain)


def _compared(name: str) -> str:
    """What two names share that are the same on some file system."""
    return normalize("NFC", normalize("NFC", name).casefold())


def predict_images(
    predictor: RelationPredictor, images: Sequence[Path], args: Namespace
) -> tuple[list[str], int]:
    """Predicts and writes the scene graph of every image.

    Returns:
        A message for each image that has no results, and the number of graphs without a relationship.

    Raises:
        InterruptedByUserError: the user pressed Ctrl-C.
        OSError: results can't be written.
    """
    problems, done, empty = list[str](), 0, 0
    try:
        for path, name in progress(list(zip(images, output_names(images), strict=True)), "images"):
            try:
                image = read_image(str(path), "BGR")
            except (OSError, ValueError) as error:
                reason = error.__cause__ or error
                cannot = f"{path} cannot be read ({reason}): replace it, or take it out of --input"
                problems.append(str(error) if is_explained(error) else cannot)
                continue
            try:
                graph = scene_graph_to_dict(
                    predictor(image), predictor.thing_classes, predictor.predicate_classes,
                    file_name=path.name, top_k=args.top_k, predicates_per_pair=args.predicates_per_pair,
                    score_threshold=args.score_threshold, entity_threshold=args.entity_threshold,
                )  # fmt: skip
                write(graph, image, args.output / name, args.top_k)
            # Whatever is wrong with one image, for example a side of a few pixels, must not stop the others.
            except (ValueError, RuntimeError) as error:
                problems.append(f"{path} can't be used: {error}")
                continue
            except OSError as error:
                raise extended(error, f"{done} of {len(images)} images are done") from error
            done += 1
            empty += not graph["relationships"]
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            f"{done} of {len(images)} images are done; their results are in {args.output}"
        ) from None
    return problems, empty


def write(graph: SceneGraph, image: np.ndarray, path: Path, top_k: int) -> None:
    """Writes the drawing and then the graph of an image, so that a graph always has its drawing.

    Args:
        graph: scene graph of the image.
        image: (H, W, 3) uint8, BGR.
        path: path of both files, without extension.
        top_k: number of relationships to draw.
    """
    drawing = draw_scene_graph(np.ascontiguousarray(image[..., ::-1]), graph, top_n=top_k)
    write_png(drawing, path.with_name(f"{path.name}.png"))
    write_scene_graph(graph, path.with_name(f"{path.name}.json"))
