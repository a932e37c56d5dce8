"""Registering a data set with Detectron2: nothing is read, and doing it twice does no harm."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from .dataset_dicts import DatasetDict


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
    """Register a relationship data set under `name`. It is loaded when it is asked for, not before.

    The same again changes nothing.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        load: called as `load(**arguments)`.
        arguments: of `load`. With its name they become the metadata `loaded_by`, which tells two data sets apart.
        thing_classes, predicate_classes: names in the order of their numbers; None if they are known only after loading.
        train_dataset: name of the data set that models were trained on, for zero-shot recall; None if it isn't known.
        metadata: more of it. `evaluator_type` is set here.

    Raises:
        ValueError: the name is registered already, for something else.
    """
    loaded_by = {"loader": load.__name__, **arguments}
    if name in DatasetCatalog:
        known = MetadataCatalog.get(name).get("loaded_by")
        if known != loaded_by:
            raise ValueError(
                f"The name {name!r} is registered already, for {known or 'a data set of another project'}, not for {loaded_by}. "
                f"Choose another name, or call DatasetCatalog.remove({name!r}) and MetadataCatalog.remove({name!r}) first."
            )
        return
    given = {"thing_classes": thing_classes, "predicate_classes": predicate_classes}
    known_classes = {key: list(names) for key, names in given.items() if names is not None}
    split = {} if train_dataset is None else {"train_dataset": train_dataset}
    MetadataCatalog.get(name).set(
        loaded_by=loaded_by, evaluator_type="relation", **known_classes, **split, **metadata
    )
    # Last, so that metadata that somebody else gave the name is refused before the name is taken.
    DatasetCatalog.register(name, partial(load, **arguments))
