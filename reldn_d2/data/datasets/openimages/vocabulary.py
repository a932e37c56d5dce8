"""The vocabulary of a folder of OpenImages relationships: that of 2018, or what its triplets file says."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reldn_d2.utils.csv_files import find_file, read_table

from .classes import ATTRIBUTE_RELATION, ATTRIBUTES, CLASSES, PREDICATES

# Not "challenge-2018-initial-relationship-triplets.csv", an early version.
TRIPLET_FILES = ("*[0-9]-relationship-triplets.csv",)
# Lists of labels and names, of classes and of attributes. Not all of them have a header line.
_NAME_FILES = ("*class-descriptions*.csv", "*classes-vrd.csv", "*attributes-description*.csv")


@dataclass(frozen=True)
class OpenImagesVocabulary:
    """Labels as in the files, and names for people, each by number.

    Attributes:
        class_labels, thing_classes: such as "/m/04yx4" and "Man".
        predicate_labels, predicate_classes: such as "interacts_with" and "interacts with".
        attribute_labels, attribute_classes: such as "/m/083vt" and "Wooden".
    """

    class_labels: list[str]
    thing_classes: list[str]
    predicate_labels: list[str]
    predicate_classes: list[str]
    attribute_labels: list[str]
    attribute_classes: list[str]


def vocabulary_of_labels(
    classes: Iterable[str], predicates: Iterable[str], attributes: Iterable[str], names: Mapping[str, str]
) -> OpenImagesVocabulary:
    """The labels of 2018 come first and in the order they have there, so that they keep their numbers in later years; the
    others follow, sorted.

    Args:
        classes, predicates, attributes: labels, in any order.
        names: label -> name, of classes and attributes.
    """
    class_labels = _in_order(classes, CLASSES)
    predicate_labels = _in_order(predicates, PREDICATES)
    attribute_labels = _in_order(attributes, ATTRIBUTES)
    return OpenImagesVocabulary(
        class_labels,
        [names[label] for label in class_labels],
        predicate_labels,
        [label.replace("_", " ") for label in predicate_labels],
        attribute_labels,
        [names[label] for label in attribute_labels],
    )


def read_vocabulary(root: str | os.PathLike[str]) -> OpenImagesVocabulary:
    """The vocabulary of the triplets file in a folder, or that of 2018 if there is no such file.

    The classes are the subjects of all triplets and the objects of those that are relationships: some classes have only
    attributes. Names that 2018 had stay; others are looked up in the folder's lists of labels and names.

    Raises:
        ValueError: a damaged file, a label that no list names, or a name that is empty or that of two labels.
    """
    path = find_file(root, TRIPLET_FILES, "the list of triplets")
    if path is None:
        return VOCABULARY_2018
    columns = ("LabelName1", "LabelName2", "RelationshipLabel")
    triplets = read_table(path, columns, other_names={"RelationLabel": "RelationshipLabel"})
    is_attribute = triplets["RelationshipLabel"] == ATTRIBUTE_RELATION
    relationships = triplets[~is_attribute]
    classes = {*triplets["LabelName1"], *relationships["LabelName2"]}
    attributes = set(triplets["LabelName2"][is_attribute])
    names = CLASSES | ATTRIBUTES
    if not classes | attributes <= names.keys():
        names = _read_names(Path(root)) | names
    unnamed = sorted((classes | attributes) - names.keys())
    if unnamed:
        raise ValueError(
            f"{path}: {len(unnamed)} labels have no name, the first is {unnamed[0]}. Put the official lists of the same year "
            "beside it, such as oidv6-class-descriptions.csv and oidv6-attributes-description.csv."
        )
    vocabulary = vocabulary_of_labels(classes, relationships["RelationshipLabel"], attributes, names)
    _check_names(path, vocabulary.class_labels, vocabulary.thing_classes)
    _check_names(path, vocabulary.predicate_labels, vocabulary.predicate_classes)
    _check_names(path, vocabulary.attribute_labels, vocabulary.attribute_classes)
    return vocabulary


def _check_names(path: Path, labels: Sequence[str], names: Sequence[str]) -> None:
    """A class is known to people by its name, so each needs one of its own."""
    label_of: dict[str, str] = {}
    for label, name in zip(labels, names, strict=True):
        if not name.strip():
            raise ValueError(f"{path}: the name of {label} is empty. Correct the list of labels and names.")
        if label_of.setdefault(name, label) != label:
            raise ValueError(
                f"{path}: {label_of[name]} and {label} have the same name, {name!r}. Correct the list of labels and names, "
                "or remove one of the labels."
            )


def _in_order(labels: Iterable[str], known: Iterable[str]) -> list[str]:
    given = set(labels)
    first = [label for label in known if label in given]
    return first + sorted(given.difference(first))


def _read_names(root: Path) -> dict[str, str]:
    """Label -> name of every list in the folder; a header line does no harm, since nothing is called as in it."""
    names: dict[str, str] = {}
    for pattern in _NAME_FILES:
        for path in sorted(root.glob(pattern)):
            try:
                table = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
                labels, given = table[0], table[1]
            except (pd.errors.ParserError, pd.errors.EmptyDataError, KeyError, UnicodeDecodeError) as error:
                problem = f"it is no list of labels and names ({str(error).strip()})"
                raise ValueError(f"{path}: {problem}. Download it again.") from error
            names |= dict(zip(labels, given, strict=True))
    return names


VOCABULARY_2018 = vocabulary_of_labels(CLASSES, PREDICATES, ATTRIBUTES, CLASSES | ATTRIBUTES)
