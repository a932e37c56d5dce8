"""Registering data sets with Detectron2. Files are read when a data set is loaded."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.structures.dataset_dicts import DatasetDict


def datasets_root() -> str:
    """The folder that holds the data sets: the environment variable DETECTRON2_DATASETS, or `datasets`."""
    return os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))


def register_relation_dataset(
    name: str,
    load: Callable[..., list[DatasetDict]],
    arguments: Mapping[str, Any],
    *,
    thing_classes: Sequence[str] | None = None,
    predicate_classes: Sequence[str] | None = None,
    train_dataset: str | None = None,
    **metadata: Any,
) -> None:
    """Register a relationship data set under `name`. Files are read when the data set is loaded.

    Registering the same data set again changes nothing.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        load: the loader, called as `load(**arguments)`.
        arguments: arguments of the loader. Together with the loader's name they become the metadata
            `loaded_by`, which distinguishes data sets.
        thing_classes: names of the entity classes, in the order of their numbers; None if they are known only
            after loading.
        predicate_classes: names of the predicates, in the same form.
        train_dataset: name of its training split, for zero-shot recall; None if it is not known.
        metadata: more metadata. `evaluator_type` is always set to "relation".

    Raises:
        ValueError: the name is registered for another data set.
    """
    given = {
        "thing_classes": None if thing_classes is None else list(thing_classes),
        "predicate_classes": None if predicate_classes is None else list(predicate_classes),
        "train_dataset": train_dataset,
        **metadata,
        "loaded_by": {"loader": load.__name__, **arguments},
        "evaluator_type": "relation",
    }
    wanted = {key: value for key, value in given.items() if value is not None}
    if name in DatasetCatalog:
        known = MetadataCatalog.get(name)
        differing = [key for key, value in wanted.items() if known.get(key) != value]
        if differing:
            raise ValueError(
                f"The name {name!r} is registered already, with other {', '.join(sorted(differing))}; its "
                f"data are loaded by {known.get('loaded_by') or 'another project'}, not by "
                f"{wanted['loaded_by']}. Choose another name, or call DatasetCatalog.remove({name!r}) and "
                f"MetadataCatalog.remove({name!r}) first."
            )
        return
    MetadataCatalog.get(name).set(**wanted)
    # Metadata come first: if the name has other metadata, setting them fails before the name is taken.
    DatasetCatalog.register(name, partial(load, **arguments))


def set_metadata_of_file(
    name: str, json_file: str | os.PathLike[str], found: Mapping[str, list[Any] | dict[Any, Any]]
) -> None:
    """Sets metadata that are known only after loading, such as names of classes.

    Args:
        name: name of the data set.
        json_file: the file that says them, for messages.
        found: key -> value.

    Raises:
        ValueError: the data set has other metadata.
    """
    metadata = MetadataCatalog.get(name)
    for key, value in found.items():
        known = metadata.get(key)
        if known is None:
            metadata.set(**{key: value})
        elif type(value)(known) != value:
            raise ValueError(
                f"{json_file}: its {key} are {value}, but the metadata of {name!r} says {known}. Correct "
                "one of the two, or register the file under another name."
            )
