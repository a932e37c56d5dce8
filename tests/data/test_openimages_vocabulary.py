from pathlib import Path

import pytest

from reldn_d2.data.datasets.openimages.vocabulary import (
    ATTRIBUTES,
    CLASSES,
    PREDICATES,
    VOCABULARY_2018,
    read_vocabulary,
)
from tests.builders.dataset_formats.openimages_vrd import GUITAR, MAN, TABLE, WOODEN

HEADER = "LabelName1,LabelName2,RelationshipLabel\n"


def write_triplets(root: Path, *triplets: str, name: str = "oidv6-relationship-triplets.csv") -> None:
    (root / name).write_text(HEADER + "".join(f"{triplet}\n" for triplet in triplets))


def test_without_a_triplets_file_the_vocabulary_is_that_of_2018(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary == VOCABULARY_2018
    assert (len(vocabulary.class_labels), len(vocabulary.predicate_labels)) == (57, 9)
    assert vocabulary.class_labels == sorted(CLASSES)
    assert vocabulary.thing_classes[:2] == ["Football", "Beer"]
    assert vocabulary.predicate_labels == list(PREDICATES)
    assert vocabulary.attribute_classes[0] == "Transparent"


def test_the_triplets_of_2018_give_the_same_numbers_as_no_file(tmp_path: Path) -> None:
    labels = sorted(CLASSES, reverse=True)
    triplets = [
        f"{MAN},{label},{PREDICATES[::-1][i % 9]}" for i, label in enumerate(labels) if label != "/m/0584n8"
    ]
    # the briefcase has attributes only
    triplets += [f"/m/0584n8,{attribute},is" for attribute in reversed(ATTRIBUTES)]
    write_triplets(tmp_path, *triplets, name="challenge-2018-relationship-triplets.csv")
    assert read_vocabulary(tmp_path) == VOCABULARY_2018


def test_known_labels_come_first_and_new_ones_follow_sorted(tmp_path: Path) -> None:
    write_triplets(
        tmp_path, "/m/0zebra,/m/0new,ride", f"{TABLE},/m/0shiny,is", f"{MAN},{GUITAR},plays",
        f"{TABLE},{WOODEN},is", f"{MAN},{TABLE},at", f"{MAN},/m/0new,catch_with",
    )  # fmt: skip
    (tmp_path / "oidv6-class-descriptions.csv").write_text(
        f'LabelName,DisplayName\n{MAN},Person\n/m/0zebra,Zebra\n/m/0new,"New, thing"\n'
    )
    (tmp_path / "oidv6-attributes-description.csv").write_text("/m/0shiny,Shiny\n")
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary.class_labels == [GUITAR, TABLE, MAN, "/m/0new", "/m/0zebra"]
    assert vocabulary.thing_classes == ["Guitar", "Table", "Man", "New, thing", "Zebra"]
    assert vocabulary.predicate_labels == ["at", "plays", "catch_with", "ride"]
    assert vocabulary.predicate_classes == ["at", "plays", "catch with", "ride"]
    assert vocabulary.attribute_labels == [WOODEN, "/m/0shiny"]
    assert vocabulary.attribute_classes == ["Wooden", "Shiny"]


def test_a_label_without_a_name_is_an_error(tmp_path: Path) -> None:
    write_triplets(tmp_path, f"{MAN},/m/0new,at", f"{MAN},/m/0newer,at")
    with pytest.raises(
        ValueError,
        match=r"triplets\.csv: 2 labels have no name, the first is /m/0new\. Put the official lists",
    ):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize("content", ["", "/m/0new\n", "/m/0a,A\n/m/0new,New, thing\n"])
def test_a_damaged_list_of_names_is_named(tmp_path: Path, content: str) -> None:
    write_triplets(tmp_path, f"{MAN},/m/0new,at")
    (tmp_path / "oidv6-class-descriptions.csv").write_text(content)
    with pytest.raises(
        ValueError, match=r"oidv6-class-descriptions\.csv: it is not a list of labels and names.*Download"
    ):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize(
    ("triplets", "names", "message"),
    [
        ([f"{MAN},/m/0new,at"], "/m/0new,Man\n", f"{MAN} and /m/0new have the same name, 'Man'. Correct"),
        (
            [f"{MAN},/m/0a,at", f"{MAN},/m/0b,at"], "/m/0a,New\n/m/0b,New\n",
            "/m/0a and /m/0b have the same name",
        ),
        (
            [f"{MAN},/m/0a,is", f"{MAN},/m/0b,is"], "/m/0a,New\n/m/0b,New\n",
            "/m/0a and /m/0b have the same name",
        ),
        ([f"{MAN},/m/0new,at"], "/m/0new,\n", "the name of /m/0new is empty. Correct"),
        ([f"{MAN},/m/0new,is"], "/m/0new, \n", "the name of /m/0new is empty"),
        ([f"{MAN},{TABLE},kicks_at", f"{MAN},{TABLE},kicks at"], "", "have the same name, 'kicks at'"),
    ],
)  # fmt: skip
def test_names_that_are_not_of_one_label_are_refused(
    tmp_path: Path, triplets: list[str], names: str, message: str
) -> None:
    write_triplets(tmp_path, *triplets)
    (tmp_path / "oidv6-class-descriptions.csv").write_text(names)
    with pytest.raises(ValueError, match=r"oidv6-relationship-triplets\.csv: ") as error:
        read_vocabulary(tmp_path)
    assert message in str(error.value)


def test_a_class_and_an_attribute_may_have_the_same_name(tmp_path: Path) -> None:
    write_triplets(tmp_path, f"{MAN},/m/0a,at", f"{MAN},/m/0b,is")
    (tmp_path / "oidv6-class-descriptions.csv").write_text("/m/0a,New\n/m/0b,New\n")
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary.thing_classes[-1] == vocabulary.attribute_classes[-1] == "New"


def test_the_early_triplets_of_2018_are_not_the_vocabulary(tmp_path: Path) -> None:
    write_triplets(tmp_path, f"{MAN},{GUITAR},plays", name="challenge-2018-initial-relationship-triplets.csv")
    assert read_vocabulary(tmp_path) == VOCABULARY_2018


def test_damaged_and_ambiguous_triplets_are_named(tmp_path: Path) -> None:
    write_triplets(tmp_path, f"{MAN},{GUITAR}")
    with pytest.raises(
        ValueError, match=r"oidv6-relationship-triplets\.csv: line 2: RelationshipLabel is missing"
    ):
        read_vocabulary(tmp_path)
    write_triplets(tmp_path, name="challenge-2018-relationship-triplets.csv")
    with pytest.raises(ValueError, match="several files could be the list of triplets: challenge-2018-"):
        read_vocabulary(tmp_path)
