"""The data sets that `import reldn_d2` registers. Their names begin with `reldn_`."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from .datasets.openimages.vocabulary import VOCABULARY_2018, challenge_vocabulary
from .datasets.openimages.vrd import MINI_SIZES, register_openimages_vrd
from .datasets.visual_genome.vg150 import SPLITS, register_vg150
from .datasets.vrd import register_vrd
from .registration import datasets_root
from .synthetic import BUILTIN_DATASETS, register_scenes

logger = logging.getLogger(__name__)

_Sets = dict[str, Callable[[str], None]]

# Counts of the official files, for the checker.
_VRD_COUNTS = {
    "train": {"images": 4_000, "relationships": 30_355, "images_without_relationships": 220},
    "test": {"images": 1_000, "relationships": 7_638, "images_without_relationships": 45},
}
_OPENIMAGES_COUNTS = {"train": {"images": 53_953}, "val": {"images": 3_234}}


def register_all(root: str | None = None) -> None:
    """Register the data sets that datasets/README.md lists.

    Files are read when a data set is loaded. A name that an earlier call or another project has registered is
    left as it is. This also holds for a name that has only metadata.

    Args:
        root: folder of the data sets; None means `datasets_root()`.
    """
    base = Path(datasets_root() if root is None else root)
    for name, register in {**_vrd(base), **_vg150(base), **_openimages_vrd(base), **_scenes()}.items():
        if name in DatasetCatalog or MetadataCatalog.get(name).as_dict().keys() != {"name"}:
            logger.debug("Data set %s is registered already and left as it is.", name)
        else:
            register(name)


def _vrd(base: Path) -> _Sets:
    sets: _Sets = {}
    # vrd_mini can be any smaller data set in VRD's layout
    for folder, counts in (("vrd", _VRD_COUNTS), ("vrd_mini", {})):
        for split, train in (("train", None), ("test", f"reldn_{folder}_train")):
            sets[f"reldn_{folder}_{split}"] = partial(
                register_vrd,
                root=base / folder,
                split=split,
                train_dataset=train,
                expected_counts=counts.get(split),
            )
    return sets


def _vg150(base: Path) -> _Sets:
    # Models that are tested on "test" were trained on "train", or on "trainval" in the published schedule.
    # Zero-shot recall of `reldn_vg150_test` uses the larger of the two, so that its triplets are unseen in
    # either case.
    train = {"val": "reldn_vg150_train", "test": "reldn_vg150_trainval"}
    return {
        f"reldn_vg150_{split}": partial(
            register_vg150,
            root=base / "vg",
            split=split,
            train_dataset=train.get(split),
            expected_counts={"images": images},
        )
        for split, images in SPLITS.items()
    }


def _openimages_vrd(base: Path) -> _Sets:
    sets: _Sets = {}
    for split, train in (("train", None), ("val", "reldn_openimages_vrd_train")):
        of_split = partial(register_openimages_vrd, root=base / "openimages_vrd", split=split)
        register = partial(of_split, train_dataset=train, **asdict(VOCABULARY_2018))
        sets[f"reldn_openimages_vrd_{split}"] = partial(register, expected_counts=_OPENIMAGES_COUNTS[split])
        mini = train and train.replace("_train", "_mini_train")
        sets[f"reldn_openimages_vrd_mini_{split}"] = partial(
            register, mini=True, train_dataset=mini, expected_counts={"images": MINI_SIZES[split]}
        )
        sets[f"reldn_openimages_vrd_challenge_{split}"] = partial(
            of_split,
            challenge=True,
            train_dataset=train and train.replace("_train", "_challenge_train"),
            **asdict(challenge_vocabulary(VOCABULARY_2018)),
        )
    return sets


def _scenes() -> _Sets:
    return {
        name: partial(
            register_scenes,
            split=split,
            num_scenes=num_scenes,
            train_dataset=name.replace("_test", "_train") if split == "test" else None,
        )
        for name, (split, num_scenes) in BUILTIN_DATASETS.items()
    }
