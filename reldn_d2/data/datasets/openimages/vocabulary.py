"""Classes, predicates and attributes of OpenImages, from 2018 or from the triplets file of the folder.

Classes, predicates and attributes are identified by their labels, as in OpenImages' own lists. Each also has
a readable name.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reldn_d2.utils.csv_files import read_table

from .files import find_file

# The pattern leaves out "challenge-2018-initial-relationship-triplets.csv", an early version.
TRIPLET_FILES = ("*[0-9]-relationship-triplets.csv",)
# Lists of labels and names, for classes and for attributes. Not all of them have a header line.
_NAME_FILES = ("*class-descriptions*.csv", "*classes-vrd.csv", "*attributes-description*.csv")


@dataclass(frozen=True)
class OpenImagesVocabulary:
    """Labels, as in the files, and readable names, in the order of their numbers.

    Attributes:
        class_labels: labels of the entity classes, for example "/m/04yx4".
        thing_classes: their names, for example "Man".
        predicate_labels: labels of the predicates, for example "interacts_with".
        predicate_classes: their names, for example "interacts with".
        attribute_labels: labels of the attributes, for example "/m/083vt".
        attribute_classes: their names, for example "Wooden".
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
    """Number the labels.

    The labels of 2018 come first, in the order of 2018, so that they keep their numbers in later years. The
    others follow, sorted.

    Args:
        classes: labels of the classes, in any order.
        predicates: labels of the predicates, in any order.
        attributes: labels of the attributes, in any order.
        names: label -> name, for classes and attributes.
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

    The classes are the subjects of all triplets and the objects of relationships; some classes occur only
    with attributes. Names of 2018 stay the same. The folder's lists of labels and names give the others.

    Args:
        root: folder of the files.

    Raises:
        ValueError: a file is damaged, a label has no name, a name is empty, or two labels have the same name.
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
            f"{path}: {len(unnamed)} labels have no name, the first is {unnamed[0]}. Put the official lists "
            "of the same year beside it, such as oidv6-class-descriptions.csv and "
            "oidv6-attributes-description.csv."
        )
    vocabulary = vocabulary_of_labels(classes, relationships["RelationshipLabel"], attributes, names)
    _check_names(path, vocabulary.class_labels, vocabulary.thing_classes)
    _check_names(path, vocabulary.predicate_labels, vocabulary.predicate_classes)
    _check_names(path, vocabulary.attribute_labels, vocabulary.attribute_classes)
    return vocabulary


def challenge_vocabulary(vocabulary: OpenImagesVocabulary) -> OpenImagesVocabulary:
    """The vocabulary of the whole challenge: attributes are classes, and "is" is a predicate.

    The attributes follow the classes, and "is" follows the predicates, so that all others keep their numbers.

    Raises:
        ValueError: an attribute has the label or the name of a class.
    """
    for kind, classes, attributes in (
        ("label", vocabulary.class_labels, vocabulary.attribute_labels),
        ("name", vocabulary.thing_classes, vocabulary.attribute_classes),
    ):
        common = sorted(set(classes) & set(attributes))
        if common:
            raise ValueError(
                f"{common[0]!r} is the {kind} of a class and of an attribute, which the challenge must tell "
                "apart. Correct the list of triplets, or the list of labels and names."
            )
    return replace(
        vocabulary,
        class_labels=[*vocabulary.class_labels, *vocabulary.attribute_labels],
        thing_classes=[*vocabulary.thing_classes, *vocabulary.attribute_classes],
        predicate_labels=[*vocabulary.predicate_labels, ATTRIBUTE_RELATION],
        predicate_classes=[*vocabulary.predicate_classes, ATTRIBUTE_RELATION],
    )


def _check_names(path: Path, labels: Sequence[str], names: Sequence[str]) -> None:
    """Check that no name is empty and that names are distinct, because reports show only the names."""
    label_of: dict[str, str] = {}
    for label, name in zip(labels, names, strict=True):
        if not name.strip():
            raise ValueError(f"{path}: the name of {label} is empty. Correct the list of labels and names.")
        if label_of.setdefault(name, label) != label:
            raise ValueError(
                f"{path}: {label_of[name]} and {label} have the same name, {name!r}. Correct the list of "
                "labels and names, or remove one of the labels."
            )


def _in_order(labels: Iterable[str], known: Iterable[str]) -> list[str]:
    given = set(labels)
    first = [label for label in known if label in given]
    return first + sorted(given.difference(first))


def _read_names(root: Path) -> dict[str, str]:
    """Label -> name, from all lists in the folder. A header line adds a pair with an unused label."""
    import pandas as pd

    names: dict[str, str] = {}
    for pattern in _NAME_FILES:
        for path in sorted(root.glob(pattern)):
            try:
                table = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
                labels, given = table[0], table[1]
            except (pd.errors.ParserError, pd.errors.EmptyDataError, KeyError, UnicodeDecodeError) as error:
                problem = f"it is not a list of labels and names ({str(error).strip()})"
                raise ValueError(f"{path}: {problem}. Download it again.") from error
            names |= dict(zip(labels, given, strict=True))
    return names


# The vocabulary of the challenges of 2018 and 2019. Attributes and predicates are in the order of the
# official description files.
# fmt: off
CLASSES = {
    "/m/01226z": "Football", "/m/01599": "Beer", "/m/01940j": "Backpack", "/m/0199g": "Bicycle",
    "/m/019w40": "Surfboard", "/m/01_5g": "Chopsticks", "/m/01bl7v": "Boy", "/m/01f91_": "Pretzel",
    "/m/01mzpv": "Chair", "/m/01s55n": "Suitcase", "/m/01y9k5": "Desk", "/m/01yrx": "Cat",
    "/m/026t6": "Drum", "/m/029bxz": "Oven", "/m/02hj4": "Dolphin", "/m/02jvh9": "Mug",
    "/m/02p5f1q": "Coffee cup", "/m/0342h": "Guitar", "/m/03bt1vf": "Woman", "/m/03k3r": "Horse",
    "/m/03m3pdh": "Sofa bed", "/m/03qrc": "Hamster", "/m/03ssj5": "Bed", "/m/04_sv": "Motorcycle",
    "/m/04bcr3": "Table", "/m/04ctx": "Knife", "/m/04dr76w": "Bottle", "/m/04yx4": "Man",
    "/m/050k8": "Mobile phone", "/m/0584n8": "Briefcase", "/m/05_5p_0": "Table tennis racket",
    "/m/05ctyq": "Tennis ball", "/m/05r5c": "Piano", "/m/05r655": "Girl", "/m/06__v": "Snowboard",
    "/m/071p9": "Ski", "/m/078jl": "Snake", "/m/078n6m": "Coffee table", "/m/07y_7": "Violin",
    "/m/080hkjn": "Handbag", "/m/08pbxl": "Monkey", "/m/09tvcd": "Wine glass", "/m/0bt9lr": "Dog",
    "/m/0bwd_0j": "Elephant", "/m/0cmx8": "Spoon", "/m/0cvnqh": "Bench", "/m/0dt3t": "Fork",
    "/m/0dv5r": "Camera", "/m/0dv9c": "Racket", "/m/0fx9l": "Microwave oven", "/m/0h2r6": "Van",
    "/m/0h8my_4": "Tennis racket", "/m/0hg7b": "Microphone", "/m/0k4j": "Car", "/m/0l14j_": "Flute",
    "/m/0pg52": "Taxi", "/m/0wdt60w": "Rugby ball",
}

ATTRIBUTES = {
    "/m/02gy9n": "Transparent", "/m/05z87": "Plastic", "/m/0dnr7": "(made of)Textile",
    "/m/04lbp": "(made of)Leather", "/m/083vt": "Wooden",
}
# fmt: on

PREDICATES = ("at", "on", "holds", "plays", "interacts_with", "wears", "inside_of", "under", "hits")

# This relation joins an entity to an attribute. Only in the whole challenge it is a predicate.
ATTRIBUTE_RELATION = "is"

VOCABULARY_2018 = vocabulary_of_labels(CLASSES, PREDICATES, ATTRIBUTES, CLASSES | ATTRIBUTES)
