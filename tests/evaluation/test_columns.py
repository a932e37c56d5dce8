"""Records as columns: any cut into parts gives the same numbers, bit for bit; also of some of the images."""

import io
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.evaluation import PROTOCOLS, EvaluatedSplit, ProtocolResult, TrainingSplit, UnseenTriplets
from reldn_d2.evaluation.columns import ChosenParts, chosen_images, compact, image_of_rows
from reldn_d2.evaluation.metrics import PredicateRecall
from reldn_d2.evaluation.protocols.average_precision import AveragePrecisionProtocol, JudgedTriplets
from reldn_d2.evaluation.protocols.confusion import KINDS, JudgedCases
from reldn_d2.evaluation.protocols.protocol import StreamingProtocol
from reldn_d2.evaluation.protocols.recall import FoundRelationships
from reldn_d2.evaluation.protocols.registry import resolve_protocols, streaming_protocols
from tests.evaluation.test_queries import AsksReversedPairs

PREDICATES = [f"p{i}" for i in range(7)]
IMAGES = 60
TRAINING = TrainingSplit(3, np.array([5, 0, 9, 1, 1, 2, 0]), np.arange(9))
SPLITS = {
    "nothing known": EvaluatedSplit(PREDICATES, task="sgdet"),
    "training": EvaluatedSplit(PREDICATES, TRAINING, task="sgdet"),
    "unseen triplets": EvaluatedSplit(PREDICATES, UnseenTriplets(3, 7, np.arange(9)), task="sgdet"),
}


def found(rng: np.random.Generator, lists: int, numbers: int, zero_shot: bool) -> FoundRelationships:
    """Some images have no relationship. The last predicate is never annotated."""
    count = rng.choice([0, 1, 2, 5, 30])
    return FoundRelationships(
        rng.choice([0, 3, 19, 20, 49, 99, 100], (lists, count)).astype(np.int32),
        rng.integers(0, 100, (lists, numbers), dtype=np.int32),
        rng.integers(0, 6, count),
        rng.random(count) < 0.4 if zero_shot else None,
    )


def judged_triplets(rng: np.random.Generator, of_image: FoundRelationships) -> JudgedTriplets:
    """Few levels of scores, so that many are equal; in some images with more digits than in others."""
    count = rng.choice([0, 1, 100])
    score = -np.sort(-rng.choice([0.0, 1 / 3, 0.5, 0.9], count)).astype(rng.choice([np.float32, np.float64]))
    true = {kind: rng.random(count) < 0.2 for kind in ("rel", "phr")}
    return JudgedTriplets(rng.integers(0, 7, count), score, true, of_image)


def judged_cases(rng: np.random.Generator) -> dict[str, JudgedCases] | None:
    if rng.random() < 0.1:
        return None
    cases = {}
    for kind in KINDS:
        count = rng.choice([0, 1, 9])
        shares = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])[rng.integers(0, 4, count)]
        chance = 1 / (1 + rng.integers(1, 9, count))
        cases[kind] = JudgedCases(rng.integers(0, 6, count), shares, chance)
    return cases


def records_of(name: str, zero_shot: bool, seed: int = 0) -> tuple[StreamingProtocol[Any], list[Any]]:
    """A protocol, and generated records of IMAGES images."""
    (protocol,) = resolve_protocols([name], "sgdet", PREDICATES)
    rng = np.random.default_rng(seed)
    if name == "confusion":
        return protocol, [judged_cases(rng) for _ in range(IMAGES)]
    summary: Any = protocol.recall if isinstance(protocol, AveragePrecisionProtocol) else protocol
    lists, numbers = len(summary.lists), len(summary.recall_at)
    records = [found(rng, lists, numbers, zero_shot) for _ in range(IMAGES)]
    if isinstance(protocol, AveragePrecisionProtocol):
        return protocol, [judged_triplets(rng, record) for record in records]
    return protocol, records


def ids(rows: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{row:03}" for row in rows)


def same(a: ProtocolResult, b: ProtocolResult) -> None:
    """All numbers are equal bit for bit, and come in the same order."""
    assert [*a.metrics.items()] == [*b.metrics.items()]
    assert [*a.facts.items()] == [*b.facts.items()] and a.column_facts == b.column_facts
    assert a.notes == b.notes and a.excluded == b.excluded
    assert [*a.per_predicate] == [*b.per_predicate] and [*a.per_image] == [*b.per_image]
    for name, column in a.per_predicate.items():
        np.testing.assert_array_equal(column, b.per_predicate[name], strict=True)
    for name, counts in a.per_image.items():
        other = b.per_image[name]
        assert counts.image_ids == other.image_ids and [*counts.hits] == [*other.hits]
        np.testing.assert_array_equal(counts.ground_truths, other.ground_truths, strict=True)
        for metric, hits in counts.hits.items():
            np.testing.assert_array_equal(hits, other.hits[metric], strict=True)


CUTS = {
    "every image": range(1, IMAGES),
    "three parts": (11, 40),
    "a part of one image": (1, 59),
    "two": (30,),
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_parts_give_the_numbers_of_one_part(name: str, split: str) -> None:
    protocol, records = records_of(name, zero_shot=split != "nothing known")
    expected = protocol.summarise(ids(range(IMAGES)), records, SPLITS[split])
    assert expected.metrics
    for cut in CUTS.values():
        bounds = [0, *cut, IMAGES]
        parts = [protocol.columns(records[a:b]) for a, b in itertools.pairwise(bounds)]
        same(protocol.summarise_columns(ids(range(IMAGES)), parts, SPLITS[split]), expected)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_some_of_the_images(name: str) -> None:
    protocol, records = records_of(name, zero_shot=True)
    chosen = np.random.default_rng(1).random(IMAGES) < 0.3
    chosen[20:25] = False  # a part without a chosen image
    rows = np.flatnonzero(chosen).tolist()
    expected = protocol.summarise(ids(rows), [records[row] for row in rows], SPLITS["training"])
    bounds = [0, 20, 25, 26, IMAGES]
    slices = [slice(a, b) for a, b in itertools.pairwise(bounds)]
    parts = ChosenParts([protocol.columns(records[x]) for x in slices], [chosen[x] for x in slices])
    same(protocol.summarise_columns(ids(rows), parts, SPLITS["training"]), expected)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_columns_are_small_numbers_that_a_file_holds(name: str) -> None:
    protocol, records = records_of(name, zero_shot=True)
    columns = protocol.columns(records)
    file = io.BytesIO()
    np.savez(file, **columns)
    file.seek(0)
    read = np.load(file, allow_pickle=False)
    assert {*read} == {*columns}
    same(
        protocol.summarise_columns(ids(range(IMAGES)), [read], SPLITS["training"]),
        protocol.summarise(ids(range(IMAGES)), records, SPLITS["training"]),
    )
    for column, values in columns.items():
        floating = column == "triplets/score" or column.startswith("images/chance")
        assert values.dtype.kind == "f" if floating else values.dtype in (np.uint8, np.bool_), column
        table = column.partition("/")[0]
        assert len(values) == (IMAGES if table == "images" else len(columns[f"{table}/image"]))


def test_a_triplet_takes_nine_bytes() -> None:
    protocol, records = records_of("openimages", zero_shot=False)
    columns = protocol.columns([replace(x, score=x.score.astype(np.float32)) for x in records * 10])
    triplets = sum(len(record.score) for record in records * 10)
    assert sum(x.nbytes for name, x in columns.items() if name.startswith("triplets/")) == 9 * triplets


@given(st.lists(st.integers(0, 70_000), max_size=5))
def test_integers_have_the_smallest_type(values: list[int]) -> None:
    found = compact(np.array(values, dtype=np.int64))
    assert found.tolist() == values
    assert found.dtype == next(x for x in ("u1", "u2", "u4") if max(values, default=0) <= np.iinfo(x).max)


def test_chosen_images_are_numbered_anew_in_any_order_of_rows() -> None:
    columns = {
        "images/size": np.array([10, 11, 12, 13]),
        "things/image": np.array([3, 0, 2, 3, 1], dtype=np.uint8),
        "things/pair": np.arange(10).reshape(5, 2),
        "nothing/image": image_of_rows([0, 0, 0, 0]),
    }
    found = chosen_images(columns, np.array([False, True, False, True]))
    assert {name: values.tolist() for name, values in found.items()} == {
        "images/size": [11, 13],
        "things/image": [1, 1, 0],
        "things/pair": [[0, 1], [6, 7], [8, 9]],
        "nothing/image": [],
    }
    assert found["things/image"].dtype == np.uint8


def at_once(hit: np.ndarray, predicate: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Recall of each predicate in every image that has it, averaged over these images: all at once."""
    cells, cell = np.unique(image * len(PREDICATES) + predicate, return_inverse=True)
    of_cell, recall = cells % len(PREDICATES), np.bincount(cell, weights=hit) / np.bincount(cell)
    with np.errstate(invalid="ignore"):
        return 100.0 * np.bincount(of_cell, weights=recall, minlength=7) / np.bincount(of_cell, minlength=7)


def test_means_over_images_are_added_in_the_order_of_images() -> None:
    rng = np.random.default_rng(2)
    image = np.sort(rng.integers(0, 1_000, 20_000))
    predicate, hit = rng.integers(0, 6, 20_000), rng.random(20_000) < 0.4
    recall = PredicateRecall(7, ["R@50"])
    for first in range(0, 1_000, 37):
        rows = (image >= first) & (image < first + 37)
        recall.add(predicate[rows], image[rows] - first, {"R@50": hit[rows]})
    np.testing.assert_array_equal(recall.image_mean("R@50"), at_once(hit, predicate, image))
    counts = np.bincount(predicate[hit], minlength=7), np.bincount(predicate, minlength=7)
    np.testing.assert_array_equal(recall.pooled("R@50")[:6], 100.0 * counts[0][:6] / counts[1][:6])
    assert np.isnan(recall.pooled("R@50")[6]) and recall.annotated.tolist() == counts[1].tolist()


def test_protocols_without_columns_are_refused_by_name() -> None:
    ours = resolve_protocols([*PROTOCOLS], "sgdet", PREDICATES)
    assert streaming_protocols(ours) == ours
    with pytest.raises(ValueError, match=r"protocol reversed can't be evaluated from shards.* 'columns'"):
        streaming_protocols([*ours, AsksReversedPairs()])
