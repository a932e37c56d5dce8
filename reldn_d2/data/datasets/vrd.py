"""VRD (Lu et al. 2016) in its official layout.

    root/json_dataset/annotations_train.json, annotations_test.json, objects.json, predicates.json
    root/sg_dataset/sg_train_images/, sg_test_images/

The files leave some questions open. This loader answers them as follows:

* VRD lists relationships, not entities. The entities of an image are its distinct (box, class) combinations,
  in order of appearance; one box with two classes is two entities.
* Relationships of an entity with itself and repeated relationships stay: evaluation counts all annotations.
* A box is given as [ymin, ymax, xmin, xmax]. The numbers count pixels from 1, the last pixel included (the
  smallest is 1 and the largest is the image's size). They are kept as given, as (xmin, ymin, xmax, ymax) and
  without "+ 1". Then the overlap of the protocols with offset 1 is the official one, and the half-open box
  that the network pools misses at most one column and one row.
* Boxes are clipped to their image, and a side shorter than one pixel (a box one pixel wide, or one that lies
  outside the image) is widened to one pixel inside the image. No relationship is lost, so the number of
  ground truths stays the official one; the log says how many boxes were changed.
* The content of an image file decides its format, not the ending of its name. If a listed file is missing, a
  file of the same name with another ending is used, because copies of VRD differ in the endings.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.json_files import read_json
from reldn_d2.utils.refusals import refuse_one

from ..registration import register_relation_dataset
from .relationship_lists import ListedFile, listed_relationships, with_images

SPLITS = ("train", "test")


def load_vrd(root: str | os.PathLike[str], split: str) -> list[DatasetDict]:
    """Read a split of VRD into dataset dicts. Only the headers of the pictures are read.

    Args:
        root: folder that holds `json_dataset` and `sg_dataset`.
        split: "train" or "test".

    Raises:
        FileNotFoundError: an annotation or image file is missing; the message says how many images.
        ValueError: unknown split; damaged files; class lists that differ from VRD's.
    """
    json_file, image_root = _paths(root, split)
    for file_name, expected in (("objects.json", OBJECT_CLASSES), ("predicates.json", PREDICATE_CLASSES)):
        path = json_file.parent / file_name
        if read_json(path) != list(expected):
            problem = (
                f"it is not VRD's list of {len(expected)} names, so the class numbers of the annotations "
                "would get wrong names"
            )
            refuse_one(path, "other names", "the file", problem, "Use the file of the official data set.")
    return with_images(parse_vrd_annotations(json_file), image_root, json_file)


def register_vrd(
    name: str,
    root: str | os.PathLike[str],
    split: str,
    train_dataset: str | None = None,
    *,
    expected_counts: Mapping[str, int] | None = None,
) -> None:
    """Register a split of VRD under `name`. Files are read when the data set is loaded.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        root: see `load_vrd`.
        split: see `load_vrd`.
        train_dataset: name of its training split, for zero-shot recall; None if it is not known.
        expected_counts: official numbers of "images", "relationships" or "images_without_relationships", for
            the checker; None if this is not an official split.

    Raises:
        ValueError: unknown split.
    """
    json_file, image_root = _paths(root, split)
    register_relation_dataset(
        name,
        load_vrd,
        {"root": os.fspath(root), "split": split},
        thing_classes=OBJECT_CLASSES,
        predicate_classes=PREDICATE_CLASSES,
        train_dataset=train_dataset,
        # the key is not `json_file`, which Detectron2 takes for a file in COCO format
        annotation_file=str(json_file),
        image_root=str(image_root),
        **({} if expected_counts is None else {"expected_counts": dict(expected_counts)}),
    )


def _paths(root: str | os.PathLike[str], split: str) -> tuple[Path, Path]:
    if split not in SPLITS:
        raise ValueError(f"VRD has the splits {SPLITS}, not {split!r}.")
    base = Path(root)
    json_file = base / "json_dataset" / f"annotations_{split}.json"
    return json_file, base / "sg_dataset" / f"sg_{split}_images"


def parse_vrd_annotations(json_file: str | os.PathLike[str]) -> list[DatasetDict]:
    """Read an annotation file of VRD, without the images.

    Args:
        json_file: annotations_train.json or annotations_test.json.

    Returns:
        One dict per listed image, in the order of the file, including images without relationships. The keys
        are `file_name` (as listed, without folder), `image_id` (the same string), `annotations` (XYXY_ABS
        with the numbers as given) and `relations` (R, 3) int64. `height` and `width` are not in the file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a record differs from VRD's format; the message names file, image and relationship.
    """
    file = ListedFile(
        Path(json_file),
        "VRD's annotations_*.json",
        "[ymin, ymax, xmin, xmax]",
        len(OBJECT_CLASSES),
        len(PREDICATE_CLASSES),
    )
    return listed_relationships(file)


# Class names in the order of objects.json and predicates.json.
# fmt: off
OBJECT_CLASSES = (
    "person", "sky", "building", "truck", "bus", "table", "shirt", "chair", "car", "train", "glasses",
    "tree", "boat", "hat", "trees", "grass", "pants", "road", "motorcycle", "jacket", "monitor", "wheel",
    "umbrella", "plate", "bike", "clock", "bag", "shoe", "laptop", "desk", "cabinet", "counter", "bench",
    "shoes", "tower", "bottle", "helmet", "stove", "lamp", "coat", "bed", "dog", "mountain", "horse",
    "plane", "roof", "skateboard", "traffic light", "bush", "phone", "airplane", "sofa", "cup", "sink",
    "shelf", "box", "van", "hand", "shorts", "post", "jeans", "cat", "sunglasses", "bowl", "computer",
    "pillow", "pizza", "basket", "elephant", "kite", "sand", "keyboard", "plant", "can", "vase",
    "refrigerator", "cart", "skis", "pot", "surfboard", "paper", "mouse", "trash can", "cone", "camera",
    "ball", "bear", "giraffe", "tie", "luggage", "faucet", "hydrant", "snowboard", "oven", "engine",
    "watch", "face", "street", "ramp", "suitcase",
)

PREDICATE_CLASSES = (
    "on", "wear", "has", "next to", "sleep next to", "sit next to", "stand next to", "park next",
    "walk next to", "above", "behind", "stand behind", "sit behind", "park behind", "in the front of",
    "under", "stand under", "sit under", "near", "walk to", "walk", "walk past", "in", "below", "beside",
    "walk beside", "over", "hold", "by", "beneath", "with", "on the top of", "on the left of",
    "on the right of", "sit on", "ride", "carry", "look", "stand on", "use", "at", "attach to", "cover",
    "touch", "watch", "against", "inside", "adjacent to", "across", "contain", "drive", "drive on",
    "taller than", "eat", "park on", "lying on", "pull", "talk", "lean on", "fly", "face", "play with",
    "sleep on", "outside of", "rest on", "follow", "hit", "feed", "kick", "skate on",
)
# fmt: on
