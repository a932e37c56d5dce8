"""Registered data sets: their images, their precomputed detections, and the names of their classes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import zip_longest
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

from reldn_d2.data import load_detections_into_dataset
from reldn_d2.data.checking.loaded import CheckMode, check_loaded
from reldn_d2.renamed import present_dataset_name
from reldn_d2.structures import Vocabulary
from reldn_d2.structures.vocabulary import KINDS, class_names


def check_registered(dataset_name: str) -> None:
    """Checks that a data set is registered.

    Raises:
        ValueError: it is not. The message names its present name, or similar names and how data sets are
            registered.
    """
    if dataset_name in DatasetCatalog:
        return
    if present_dataset_name(dataset_name) != dataset_name:
        raise ValueError(
            f"data set {dataset_name!r} is now called {present_dataset_name(dataset_name)!r}: write this name"
        )
    near = get_close_matches(dataset_name, DatasetCatalog.list(), n=3)
    hint = f"did you mean {' or '.join(near)}? Otherwise" if near else "correct the name, or"
    raise ValueError(
        f"data set {dataset_name!r} is not registered: {hint} register it: --data FILE.yaml for "
        "COCO-relations files, --import FILE.py for your own code"
    )


def vocabulary_of(dataset_name: str) -> Vocabulary:
    """Names of the entity classes and predicates of a registered data set.

    The list of predicates is empty if the data set has none.

    Raises:
        ValueError: the data set is not registered, names no entity classes, or has other names than texts.
    """
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("thing_classes") is None:
        check_registered(dataset_name)
        # Detectron2's loaders set the names when they read the annotation file.
        DatasetCatalog.get(dataset_name)
    if metadata.get("thing_classes") is None:
        raise ValueError(
            f"data set {dataset_name} has no thing_classes: "
            f"MetadataCatalog.get({dataset_name!r}).set(thing_classes=...)"
        )
    things, predicates = (class_names(metadata.get(kind) or [], kind, dataset_name) for kind in KINDS)
    return Vocabulary(things, predicates)


def common_vocabulary(dataset_names: Iterable[str], counts: Mapping[str, tuple[str, int]]) -> Vocabulary:
    """Checks that data sets have the same classes, as many as the config says, and returns their names.

    Args:
        dataset_names: names of the data sets.
        counts: "thing_classes" and, for RelDN, "predicate_classes" -> the config key that holds their number,
            and this number.

    Returns:
        Names of the classes, without predicates if `counts` has none.

    Raises:
        ValueError: a data set has another number of classes, the names differ, or there is no data set.
    """
    vocabularies = {name: vocabulary_of(name) for name in dataset_names}
    if "predicate_classes" not in counts:
        vocabularies = {name: replace(x, predicate_classes=[]) for name, x in vocabularies.items()}
    if not vocabularies:
        raise ValueError(
            "there is no data set to take the names of the classes from: name one in DATASETS.TEST, or for "
            "training in DATASETS.TRAIN"
        )
    first = next(iter(vocabularies.values()))
    for name, vocabulary in vocabularies.items():
        for kind, (key, number) in counts.items():
            in_data_set = len(getattr(vocabulary, kind))
            if number != in_data_set:
                raise ValueError(
                    f"{key} is {number}, but data set {name} has {in_data_set}: set {key} to {in_data_set}, "
                    "or name another data set"
                )
        first.check_equal(vocabulary, f"data set {name}")
    return first


def load_registered(
    names: Sequence[str], detection_files: Sequence[str] = (), check: CheckMode = "error"
) -> list[dict[str, Any]]:
    """Dataset dicts of registered data sets, one after the other, checked (`check_loaded`).

    Args:
        names: names of the data sets.
        detection_files: files of precomputed detections, one per data set, or none.
        check: whether errors of the annotation stop the run ("error") or are said ("warn").

    Raises:
        ValueError: a data set is not registered, its annotation has errors, the numbers of files and data
            sets differ, or detections do not fit a data set.
    """
    for name in names:
        check_registered(name)
    check_detection_files(detection_files, names)
    dataset_dicts: list[dict[str, Any]] = []
    for name, file in zip_longest(names, detection_files):
        dataset_dicts += _load(name, file, check)
    return dataset_dicts


def check_test_sets(
    names: Sequence[str], detection_files: Sequence[str], checked: Collection[str], check: CheckMode
) -> list[str]:
    """Checks test sets as `load_registered` does, one after the other, and keeps none of them.

    A training does so at its start, since it would stop at its first evaluation otherwise.

    Args:
        names, detection_files, check: see `load_registered`.
        checked: data sets that are checked anyway, as they are trained on. Of these, only the detections are
            checked here.

    Returns:
        Names of the data sets that an evaluator may refuse: some dicts have no relationships, or the metadata
        list zero-shot triplets or name a training split that is not registered or has other classes.

    Raises:
        ValueError: see `load_registered`.
    """
    check_detection_files(detection_files, names)
    doubtful = []
    for name, file in zip_longest(names, detection_files):
        has_relations = True
        if name not in checked or file is not None:
            check_registered(name)
            has_relations = _has_relations(_load(name, file, None if name in checked else check))
        metadata = MetadataCatalog.get(name)
        listed = metadata.get("zero_shot_triplets") is not None
        if listed or not has_relations or not _has_training_split(metadata):
            doubtful.append(name)
    return doubtful


def _has_relations(dataset_dicts: Sequence[Any]) -> bool:
    # DATASETS.CHECK warn lets anything through.
    return all(isinstance(image, dict) and "relations" in image for image in dataset_dicts)


def _has_training_split(metadata: Metadata) -> bool:
    """Whether a training split that metadata name is registered and has the same classes, if it says them."""
    name = metadata.get("train_dataset")
    if name is None:
        return True
    other = MetadataCatalog.get(name) if name in DatasetCatalog else None
    return other is not None and all(other.get(kind) in (None, metadata.get(kind)) for kind in KINDS)


def _load(name: str, detection_file: str | None, check: CheckMode | None) -> list[dict[str, Any]]:
    """Dataset dicts of a registered data set, with its detections. Nothing is checked if `check` is None."""
    loaded: list[dict[str, Any]] = DatasetCatalog.get(name)
    if check is not None:
        metadata = MetadataCatalog.get(name)  # a loader may set names
        check_loaded(
            loaded, name, _number(metadata, "thing_classes"), _number(metadata, "predicate_classes"), check
        )
    if detection_file is None:
        return loaded
    return load_detections_into_dataset(loaded, detection_file, vocabulary_of(name).thing_classes, name)


def check_keypoint_names(names: Sequence[str]) -> None:
    """Checks that data sets name their keypoints, which Detectron2's mapper needs for flipped images.

    Raises:
        ValueError: the metadata of a data set lack the names, or which of them change places.
    """
    for name in names:
        for key in ("keypoint_names", "keypoint_flip_map"):
            if MetadataCatalog.get(name).get(key) is None:
                raise ValueError(
                    f"data set {name} has no {key}, without which keypoints can't be trained: "
                    f"MetadataCatalog.get({name!r}).set({key}=...)"
                )


def _number(metadata: Metadata, key: str) -> int | None:
    names = metadata.get(key)
    return None if names is None else len(names)


def check_detection_files(files: Sequence[str], names: Sequence[str]) -> None:
    """Checks that there is one detection file for each data set, or none at all.

    Raises:
        ValueError: there are files, but not one for each data set.
    """
    if files and len(files) != len(names):
        raise ValueError(
            f"{len(files)} detection files for {len(names)} data sets ({', '.join(names)}): give one for "
            "each data set in DATASETS.DETECTION_FILES_TRAIN and _TEST, or none"
        )
