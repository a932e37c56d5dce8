"""What a run says when it starts: its data, its model, and how it trains."""

from collections.abc import Sequence
from dataclasses import dataclass

from detectron2.data import DatasetCatalog
from torch import nn

from reldn_d2.data.filters import count_training_entities, count_training_relations
from reldn_d2.modeling.acceleration import original_class
from reldn_d2.structures import Vocabulary
from reldn_d2.structures.dataset_dicts import DatasetDict, relation_rows

from .parts import RunParts
from .recipe import recipe_in_words


@dataclass(frozen=True)
class DataCounts:
    """How large a data set is, and how much of it a training uses.

    Attributes:
        images, entities, relationships: numbers in the annotation; the relationships are 0 for a detector.
        used_images, used_relationships: numbers after the filters of training.
    """

    images: int
    entities: int
    relationships: int
    used_images: int
    used_relationships: int


def count_data(dataset_dicts: Sequence[DatasetDict], *, with_relations: bool) -> DataCounts:
    """Counts images, entities and relationships.

    Args:
        dataset_dicts: the images, as a training or an evaluation loads them.
        with_relations: whether relationships are trained or evaluated, not only entities.

    Raises:
        ValueError: relationships do not fit the annotations.
    """
    entities = sum(len(image["annotations"]) for image in dataset_dicts)
    if not with_relations:
        used = int((count_training_entities(dataset_dicts) > 0).sum())
        return DataCounts(len(dataset_dicts), entities, 0, used, 0)
    related = count_training_relations(list(dataset_dicts))
    total = sum(len(relation_rows(image)) for image in dataset_dicts)
    return DataCounts(len(dataset_dicts), entities, total, int((related > 0).sum()), int(related.sum()))


def describe_training(
    parts: RunParts, model: nn.Module, data: DataCounts, vocabulary: Vocabulary, start: str
) -> dict[str, str]:
    """The lines about a training.

    Args:
        parts: parts of the training.
        model: the model, not wrapped for several processes.
        data: numbers of the training data.
        vocabulary: names of the classes.
        start: where the weights come from, in words.
    """
    return {
        "data": f"{_joined(parts.train_datasets)}: {_in_words(data)}; {_classes(vocabulary)}",
        "trained on": _used_in_words(data),
        "tested on": _joined(parts.test_datasets) or "nothing: the config names no test set",
        "model": _model_in_words(model),
        **({"method": _method_in_words(parts)} if parts.is_relation_model else {}),
        "recipe": _recipe_in_words(parts, data),
        "start": start,
    }


def describe_evaluation(parts: RunParts, vocabulary: Vocabulary, weights: str) -> dict[str, str]:
    """The lines about an evaluation.

    Args:
        parts: parts of the evaluation.
        vocabulary: names of the classes.
        weights: where the weights come from, in words.
    """
    data = {
        name: _in_words(count_data(DatasetCatalog.get(name), with_relations=parts.is_relation_model))
        for name in parts.test_datasets
    }
    return {
        "data": "; ".join(f"{name}: {counts}" for name, counts in data.items()) + f"; {_classes(vocabulary)}",
        "weights": weights,
    }


def _joined(names: Sequence[str]) -> str:
    return " + ".join(names)


def _in_words(data: DataCounts) -> str:
    words = [f"{data.images:,} images", f"{data.entities:,} entities"]
    return ", ".join([*words, *([f"{data.relationships:,} relationships"] if data.relationships else [])])


def _used_in_words(data: DataCounts) -> str:
    images = f"{data.used_images:,} images"
    return f"{data.used_relationships:,} relationships in {images}" if data.used_relationships else images


def _classes(vocabulary: Vocabulary) -> str:
    predicates = len(vocabulary.predicate_classes)
    things = f"{len(vocabulary.thing_classes)} classes"
    return f"{things}, {predicates} predicates" if predicates else things


def _model_in_words(model: nn.Module) -> str:
    sizes = [(x.numel(), x.requires_grad) for x in model.parameters()]
    trained, total = sum(size for size, trains in sizes if trains), sum(size for size, _ in sizes)
    backbone = original_class(getattr(model, "backbone", model)).__name__
    bottom_up = getattr(getattr(model, "backbone", None), "bottom_up", None)
    if bottom_up is not None:
        backbone += f" on {original_class(bottom_up).__name__}"
    return f"{type(model).__name__} with {backbone}; trains {trained:,} of {total:,} parameters"


def _method_in_words(parts: RunParts) -> str:
    if not parts.is_python:
        return recipe_in_words(parts.settings())
    # The other settings of the recipes are arguments of any function.
    return "pairs as the published code draws them" if parts.entities_from_proposals else "the paper's pairs"


def _recipe_in_words(parts: RunParts, data: DataCounts) -> str:
    words = [f"{parts.max_iter:,} iterations"]
    if parts.batch_size:
        words[0] += f" of {parts.batch_size} images"
        if data.used_images:
            words[0] += f" ({parts.max_iter * parts.batch_size / data.used_images:.3g} epochs)"
    if parts.base_lr is not None:
        words.append(f"learning rate {parts.base_lr:g}")
    return "; ".join([*words, parts.schedule])
