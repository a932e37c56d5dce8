"""Names of classes, and the differences between two lists of names."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.checkpoint import Vocabulary
from reldn_d2.structures.vocabulary import check_known

WORDS = st.lists(st.sampled_from("abcd"), max_size=4, unique=True)
VOCABULARIES = st.builds(Vocabulary, WORDS, WORDS)


@given(one=VOCABULARIES, other=VOCABULARIES)
def test_the_order_counts_and_empty_lists_fit_everything(one: Vocabulary, other: Vocabulary) -> None:
    things = one.thing_classes == other.thing_classes or [] in (one.thing_classes, other.thing_classes)
    predicates = one.predicate_classes == other.predicate_classes or [] in (
        one.predicate_classes,
        other.predicate_classes,
    )
    expected = [] if things else ["thing_classes"]
    expected += [] if predicates else ["predicate_classes"]
    assert one.differing_kinds(other) == other.differing_kinds(one) == expected
    if expected:
        with pytest.raises(ValueError, match=f"the file has .* {expected[0]}"):
            one.check_equal(other, "the file")
    else:
        one.check_equal(other, "the file")


@pytest.mark.parametrize(
    ("own", "found", "message"),
    [
        (
            ["a", "b"],
            ["a", "c"],
            r"has 2 thing_classes, the data set in use has 2; .*number 1 on \(\['c'\] and \['b'\]",
        ),
        (
            ["a", "b"],
            ["a"],
            r"has 1 thing_classes, the data set in use has 2; .*number 1 on \(\[\] and \['b'\]",
        ),
        (
            ["a"],
            ["a", "b"],
            r"has 2 thing_classes, the data set in use has 1; .*number 1 on \(\['b'\] and \[\]",
        ),
    ],
)
def test_the_first_difference_is_named(own: list[str], found: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Vocabulary(own, ["on"]).check_equal(Vocabulary(found, ["on"]), "x")


@pytest.mark.parametrize(
    "saved",
    [
        ["a", "b"],
        {},
        {"thing_classes": ["a"]},
        {"thing_classes": ["a"], "predicate_classes": ["on"], "colours": []},
        {"thing_classes": "abc", "predicate_classes": []},
    ],
)
def test_a_vocabulary_of_another_kind_is_refused_by_name(saved: Any) -> None:
    with pytest.raises(ValueError, match="the file has a 'vocabulary' that is not"):
        Vocabulary.from_saved(saved, "the file")


def test_a_saved_vocabulary() -> None:
    found = Vocabulary.from_saved({"predicate_classes": ["on"], "thing_classes": ["a", "b"]}, "x")
    assert found == Vocabulary(["a", "b"], ["on"])
    assert found.names("thing_classes") == ["a", "b"] and found.names("predicate_classes") == ["on"]


def test_names_that_a_vocabulary_lacks_are_named_with_similar_ones() -> None:
    check_known(["cup", "cup"], {"cup": 0, "person": 1}, "class")
    unknown = ["cupp", "zebra", *(f"q{i}" for i in range(5)), "cupp"]
    with pytest.raises(ValueError, match="no class") as caught:
        check_known(unknown, ["cup", "person"], "class")
    assert str(caught.value) == (
        "the vocabulary has no class 'cupp' (similar: 'cup'), 'zebra' (no similar name), "
        "'q0' (no similar name), 'q1' (no similar name), 'q2' (no similar name) and 2 more: "
        "correct the name, or add it to the vocabulary"
    )
    with pytest.raises(ValueError, match=r"no predicate 'n{79} \(no similar name\)"):
        check_known(["n" * 10_000], [], "predicate")
