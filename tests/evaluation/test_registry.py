"""Protocols by name, and their settings."""

from inspect import signature

import pytest

from reldn_d2.evaluation import PROTOCOLS, make_protocols
from reldn_d2.evaluation.protocols.registry import protocols_with


def test_every_protocol_is_made_with_its_defaults_and_has_its_name() -> None:
    made = make_protocols(list(PROTOCOLS))
    assert [protocol.name for protocol in made] == list(PROTOCOLS)
    assert made == [factory() for factory in PROTOCOLS.values()]


def test_each_protocol_takes_the_settings_that_it_has() -> None:
    reldn, openimages, motifs = make_protocols(
        ["reldn", "openimages", "motifs"], predicates_per_pair=(1, 70), excluded_predicates=["on"]
    )
    assert {ranked.predicates_per_pair for ranked in reldn.lists} == {1, 70}
    assert openimages.excluded_predicates == ("on",) and openimages.predicates_per_pair == 2
    assert motifs == PROTOCOLS["motifs"]()


def test_a_setting_of_a_protocol_that_is_not_made_changes_nothing() -> None:
    assert make_protocols(["motifs"], excluded_predicates=["on"]) == make_protocols(["motifs"])


def test_unknown_names_are_refused_with_similar_ones() -> None:
    with pytest.raises(
        ValueError, match=r"unknown protocol 'motif'; the protocols are .*did you mean motifs\?"
    ):
        make_protocols(["motif"])
    with pytest.raises(
        ValueError, match=r"unknown setting 'predicate_per_pair'.*did you mean predicates_per_pair\?"
    ):
        make_protocols(["reldn"], predicate_per_pair=(1,))
    with pytest.raises(ValueError, match=r"unknown protocol 'x'; the protocols are [^;]*$"):
        make_protocols(["x"])


def test_all_settings_have_defaults_and_users() -> None:
    for factory in PROTOCOLS.values():
        assert all(setting.default is not setting.empty for setting in signature(factory).parameters.values())
    assert protocols_with("predicates_per_pair") == ["reldn"]
    assert protocols_with("excluded_predicates") == ["openimages", "reldn_openimages"]
