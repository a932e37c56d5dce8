import gzip
from pathlib import Path

import numpy as np
import pytest

from reldn_d2.data.datasets.visual_genome.raw_files import NameCodes, clean_name, read_aliases
from reldn_d2.data.datasets.visual_genome.vg150 import OBJECT_CLASSES, PREDICATE_CLASSES


def aliases(folder: Path, text: str) -> dict[str, str]:
    path = folder / "alias.txt"
    path.write_text(text)
    return read_aliases(path)


def name_of(given: str, classes: list[str], stands_for: dict[str, str]) -> str:
    names = NameCodes(classes, stands_for)
    return names.names[names.code(given)]


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("man", "man"),
        ("ON", "on"),
        ("  on  top\tof ", "on top of"),
        ("on.", "on"),
        ("on . ,", "on"),
        ("t-shirt", "t-shirt"),
        ("...", ""),
        ("", ""),
    ],
)
def test_names_are_cleaned(given: str, clean: str) -> None:
    assert clean_name(given) == clean


def test_a_line_is_a_name_and_its_aliases(tmp_path: Path) -> None:
    text = "near,Next to,by.\nbookend,bookends\nnear,beside\n\nalone\n"
    assert aliases(tmp_path, text) == {
        "next to": "near",
        "by": "near",
        "bookends": "bookend",
        "beside": "near",
    }


def test_spellings_of_one_name_are_no_aliases(tmp_path: Path) -> None:
    assert aliases(tmp_path, "of  the,of the,of The.\non,\n") == {}


def test_the_same_alias_twice_is_no_conflict(tmp_path: Path) -> None:
    assert aliases(tmp_path, "person,person is\nperson ,person  is\n") == {"person is": "person"}


def test_an_alias_of_two_names_is_refused(tmp_path: Path) -> None:
    message = (
        r"alias\.txt: line 3: 'by' is an alias of 'beside' here, but of 'near' in an earlier line\. Remove"
    )
    with pytest.raises(ValueError, match=message):
        aliases(tmp_path, "near,by\non,onto\nbeside,by\n")


@pytest.mark.parametrize("text", ["a,b\nb,a\n", "b,a\nc,b\nd,c\nb,d\n"])
def test_a_cycle_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"alias\.txt: the aliases \[.*\] lead back to .*Break the circle"):
        aliases(tmp_path, text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('near,by\n"on, onto",upon\n', r"line 2: '\"on, onto\",upon' has a quote character or a tab\. Write"),
        ("near\tby\n", "line 1: .* has a quote character or a tab"),
        ("near,by\n\non\tupon\n", "line 3: .* has a quote character or a tab"),
        ("", "line 1: neither this nor any other line has an alias"),
        ("near\nby\n", "line 1: neither this nor any other line has an alias"),
        ("near,by\n".encode("utf-16"), "is not text in UTF-8"),
        (gzip.compress(b"near,by\n", mtime=0), r"is not text in UTF-8 .*Unpack it"),
    ],
)
def test_a_table_of_another_form_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "alias.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        read_aliases(path)
    assert str(path) in str(error.value)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert aliases(tmp_path, "\ufeffnear,by\n") == {"by": "near"}


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"alias\.txt does not exist.*pass None"):
        read_aliases(tmp_path / "alias.txt")


def test_aliases_of_aliases_are_followed() -> None:
    stands_for = {"is beside": "beside", "beside": "near", "rides": "riding"}
    assert name_of("Is Beside", ["near"], stands_for) == "near"
    assert name_of("is beside", ["on"], stands_for) == "near"
    assert name_of("rides", ["near"], stands_for) == "riding"


def test_a_class_is_not_replaced_by_an_alias() -> None:
    stands_for = {"is beside": "beside", "beside": "near"}
    assert name_of("beside", ["near", "beside"], stands_for) == "beside"
    assert name_of("is beside", ["near", "beside"], stands_for) == "beside"


def test_classes_come_first_and_every_name_has_one_code() -> None:
    names = NameCodes(["near", "On"], {"by": "near"})
    spellings = ["flies", "on", "ON", "by", "Flies.", "near", "walks"]
    assert names.num_classes == 2
    assert [names.code(spelling) for spelling in spellings] == [2, 1, 1, 0, 2, 0, 3]
    # earlier lookups change nothing
    assert [names.code(spelling) for spelling in spellings] == [2, 1, 1, 0, 2, 0, 3]
    assert names.names == ["near", "on", "flies", "walks"]


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="class 'on' is listed twice"):
        NameCodes(["on", "near", "On."], {})


def test_the_most_frequent_names_come_first_with_their_numbers() -> None:
    names = NameCodes([], {})
    codes = [names.code(name) for name in "abcacbcdefg"]
    assert names.most_frequent(np.array(codes), 3) == "'c' (3), 'a' (2), 'b' (2)"
    assert names.most_frequent(np.array([codes[0]])) == "'a' (1)"


def test_the_real_tables(dev_data: Path) -> None:
    folder = dev_data / "vg150"
    things = read_aliases(folder / "object_alias.txt")
    predicates = read_aliases(folder / "predicate_alias.txt")
    # no class of VG150 is an alias, so it does not matter where following stops
    assert not things.keys() & set(OBJECT_CLASSES)
    assert not predicates.keys() & set(PREDICATE_CLASSES)
    names = {
        "next to a": "near", "is beside": "near", "on top of": "above", "below the": "under", "have": "has",
        "ON": "on", "in": "in",
    }  # fmt: skip
    for given, expected in names.items():
        assert name_of(given, list(PREDICATE_CLASSES), predicates) == expected
    assert name_of("glassess", list(OBJECT_CLASSES), things) == "glass"
    for file_name, classes in (
        ("object_list.txt", OBJECT_CLASSES),
        ("predicate_list.txt", PREDICATE_CLASSES),
    ):
        assert sorted((folder / file_name).read_text().split("\n")[: len(classes)]) == sorted(classes)
