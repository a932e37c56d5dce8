"""Test loaders that pass the queries of an evaluation."""

from collections.abc import Mapping
from typing import Any

import pytest

from reldn_d2.data import QueryingLoader, build_relation_test_loader, with_queries
from reldn_d2.structures import Queries
from tests.builders.tiny_models import make_input

ASKED = Queries.from_rows(pairs=[(0, 1)], triplets=[(1, 2, 4)])


def batches() -> list[list[dict[str, Any]]]:
    """Images 0, 1 and 2, of three entities each."""
    return [[make_input(3, [], seed=0), make_input(3, [], seed=1)], [make_input(3, [], seed=2)]]


def asked_of(loader: QueryingLoader) -> list[Queries | None]:
    return [x.get("queries") for batch in loader for x in batch]


def test_each_input_gets_its_own_queries_and_the_others_none() -> None:
    inner = batches()
    loader = with_queries(inner, {"1": ASKED})
    assert len(loader) == 2
    first, second, third = asked_of(loader)
    assert second is ASKED
    assert first is not None and third is not None and not first and not third
    assert all("queries" not in x for batch in inner for x in batch), "the loader's own inputs stay"


def test_inputs_without_queries_stay_as_they_are() -> None:
    inner = batches()
    assert list(with_queries(inner, {})) == inner


def test_a_function_makes_queries_when_they_are_needed() -> None:
    calls = []

    def make() -> Mapping[str, Queries]:
        calls.append(1)
        return {"2": ASKED}

    loader = with_queries(batches(), make)
    assert calls == []
    assert asked_of(loader)[2] is ASKED and calls == [1]


def test_new_queries_replace_those_of_a_loader() -> None:
    loader = with_queries(with_queries(batches(), {"0": ASKED}), {"1": ASKED})
    assert [bool(queries) for queries in asked_of(loader)] == [False, True, False]


@pytest.mark.parametrize("queries", [{"triplets": [(0, 3, 1)]}, {"pairs": [(-1, 0)]}])
def test_a_query_about_no_annotation_is_named(queries: dict[str, Any]) -> None:
    loader = with_queries(batches(), {"1": Queries.from_rows(**queries)})
    with pytest.raises(ValueError, match=r"image 1 .*the input has 3 instances"):
        list(loader)


def test_the_builder_joins_data_set_mapper_and_queries() -> None:
    dataset_dicts = [{"image_id": i} for i in range(3)]
    loader = build_relation_test_loader(
        dataset_dicts,
        mapper=lambda x: make_input(3, [], seed=x["image_id"]),
        queries={"0": ASKED},
        batch_size=2,
    )
    assert [len(batch) for batch in loader] == [2, 1]
    assert asked_of(loader)[0] is ASKED
