"""The semantic table of a large vocabulary holds only what occurs, and gives the same logits."""

import pickle
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.modeling import SemanticModule
from reldn_d2.modeling.relation_head import modules
from reldn_d2.structures import predicate_counts
from tests.builders.sparse_counts import sparse

CLASSES, PREDICATES = 4, 3
SHAPE = (CLASSES, CLASSES, PREDICATES + 1)
SIZES = {"num_classes": CLASSES, "num_predicates": PREDICATES}
PAIRS = torch.arange(CLASSES).repeat_interleave(CLASSES), torch.arange(CLASSES).repeat(CLASSES)
DENSE, SPARSE = {"log_prior"}, {"log_prior_rows", "row_of_pair"}


def modules_of_both_forms(**options: Any) -> tuple[SemanticModule, SemanticModule]:
    """A dense module and a sparse one."""
    dense = SemanticModule(**SIZES, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predicate_counts, "DENSE_LIMIT", 0)
        small = SemanticModule(**SIZES, **options)
    assert set(dense.state_dict()) == DENSE and set(small.state_dict()) == SPARSE
    return dense, small


def some_counts(seed: int) -> np.ndarray:
    """Half of the pairs of classes have a relationship."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, 5, SHAPE)
    counts[random.random(SHAPE[:2]) < 0.5, :-1] = 0
    return counts


@pytest.fixture(params=[(old, new) for old in (0, 1) for new in (0, 1)], ids=str)
def two(request: pytest.FixtureRequest) -> Iterator[tuple[SemanticModule, SemanticModule]]:
    """A set module of either form, and a new one of either form."""
    old, new = (modules_of_both_forms()[form] for form in request.param)
    old.set_counts(some_counts(0))
    yield old, new


@given(st.integers(0, 2**32), st.sampled_from([8, 2**20]), st.sampled_from([1e-3, 1e-6, 0.1]))
def test_both_forms_give_the_logits_of_the_formula(seed: int, at_once: int, eps: float) -> None:
    """Bit by bit, from counts of both forms, however many rows are computed at once."""
    counts = np.random.default_rng(seed).choice([0, 0, 0, 0, 0, 1, 2, 7, 10_000], SHAPE)
    smoothed = torch.tensor(counts, dtype=torch.float64)
    smoothed[..., -1] += 1
    expected = (smoothed / smoothed.sum(dim=-1, keepdim=True) + eps).log().float().flatten(0, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modules, "_NUMBERS_AT_ONCE", at_once)
        for module in modules_of_both_forms(eps=eps):
            for form in (counts, sparse(counts)):
                module.set_counts(form)
                assert torch.equal(module(*PAIRS), expected)
    related = int(counts[..., :-1].any(axis=-1).sum())
    assert module.table.shape == (related + 1, PREDICATES + 1)


def test_a_table_is_set_again(two: tuple[SemanticModule, SemanticModule]) -> None:
    module, new = two
    module.set_counts(some_counts(1))
    new.set_counts(some_counts(1))
    assert torch.equal(module(*PAIRS), new(*PAIRS))


def test_each_form_loads_both(two: tuple[SemanticModule, SemanticModule]) -> None:
    old, new = two
    before = {name: x.clone() for name, x in old.state_dict().items()}
    new.load_state_dict(old.state_dict())
    assert torch.equal(new(*PAIRS), old(*PAIRS))
    new.set_counts(some_counts(1))  # now with another number of rows
    assert len(new.table) != len(old.table) or len(new.table) == CLASSES
    new.load_state_dict(old.state_dict())
    assert torch.equal(new(*PAIRS), old(*PAIRS))
    assert all(torch.equal(x, before[name]) for name, x in old.state_dict().items())


@given(st.integers(0, 2**32))
def test_any_table_has_a_sparse_form(seed: int) -> None:
    """Also one that was trained, in which no row is that of a pair without relationships."""
    dense, small = modules_of_both_forms()
    table = np.random.default_rng(seed).choice([0.0, -6.9, 1.0], SHAPE)
    dense.load_state_dict({"log_prior": torch.tensor(table, dtype=torch.float32)})
    small.load_state_dict(dense.state_dict())
    assert torch.equal(small(*PAIRS), dense(*PAIRS))


def test_most_rows_of_a_dense_table_are_shared_in_the_sparse_form() -> None:
    dense, small = modules_of_both_forms()
    counts = np.zeros(SHAPE, dtype=np.int64)
    counts[1, 2] = [3, 0, 1, 9]
    counts[0, 0, -1] = 100  # together, but without a relationship
    dense.set_counts(counts)
    small.load_state_dict(dense.state_dict())
    assert len(small.table) == 2 and small.row_of_pair.sum() == 1 == small.row_of_pair[1, 2]


def test_copies_of_the_sparse_form_are_complete() -> None:
    _, module = modules_of_both_forms()
    module.set_counts(some_counts(0))
    expected = module(*PAIRS)
    for copied in (deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(copied(*PAIRS), expected)
        copied.set_counts(some_counts(1))
        assert not torch.equal(copied(*PAIRS), expected)
        copied.load_state_dict(module.state_dict())
        assert torch.equal(copied(*PAIRS), expected)
    assert torch.equal(module(*PAIRS), expected)
    assert module.half()(*PAIRS).dtype == torch.float16
    assert not any(x.requires_grad for x in module.parameters())


def test_the_sparse_form_can_be_traced() -> None:
    _, module = modules_of_both_forms()
    module.set_counts(some_counts(0))
    traced = torch.jit.trace(module, tuple(x[:3] for x in PAIRS))
    assert torch.equal(traced(*PAIRS), module(*PAIRS))


def test_a_new_sparse_table_is_refused_until_it_is_set() -> None:
    _, module = modules_of_both_forms()
    with pytest.raises(RuntimeError, match="no predicate statistics"):
        module(*PAIRS)


@pytest.mark.parametrize("lost", sorted(SPARSE))
def test_half_a_table_is_not_loaded(lost: str) -> None:
    """Detectron2's checkpointer drops a tensor of another shape, and loads the others."""
    _, module = modules_of_both_forms()
    module.set_counts(some_counts(0))
    half = {name: x for name, x in module.state_dict().items() if name != lost}
    expected = module(*PAIRS)
    _, new = modules_of_both_forms()
    assert set(new.load_state_dict(half, strict=False).missing_keys) == SPARSE
    with pytest.raises(RuntimeError, match="no predicate statistics"):
        new(*PAIRS)
    module.load_state_dict(half, strict=False)
    assert torch.equal(module(*PAIRS), expected)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (torch.full(SHAPE[:2], 99), "numbers of rows go from 99 to 99: the file is damaged"),
        (torch.full(SHAPE[:2], -1), "go from -1 to -1"),
        (torch.zeros(SHAPE[:2]), "torch.float32 as numbers of rows"),
    ],
)
def test_a_damaged_sparse_table_is_refused(numbers: torch.Tensor, message: str) -> None:
    rows = torch.zeros(2, PREDICATES + 1)
    for module in modules_of_both_forms():
        with pytest.raises(ValueError, match=message):
            module.load_state_dict({"log_prior_rows": rows, "row_of_pair": numbers})


def test_a_trained_table_is_dense_above_the_limit_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its logits, and the gradients of its rows, are those of a dense table."""
    dense = SemanticModule(**SIZES, learnable=True)
    monkeypatch.setattr(predicate_counts, "DENSE_LIMIT", 0)
    large = SemanticModule(**SIZES, learnable=True)
    dense.set_counts(some_counts(0))
    large.set_counts(sparse(some_counts(0)))
    weights = torch.rand(len(PAIRS[0]), PREDICATES + 1)
    for module in (dense, large):
        (module(*PAIRS) * weights).sum().backward()
    assert torch.equal(large.log_prior, dense.log_prior)
    assert large.log_prior.grad is not None and dense.log_prior.grad is not None
    assert torch.equal(large.log_prior.grad, dense.log_prior.grad) and large.log_prior.grad.any()


def test_a_table_that_is_too_large_to_be_trained_is_refused_with_its_memory() -> None:
    message = "LEARNABLE.* 1703 x 1703 x 312 numbers take 3.6 GB, with gradient and momentum 10.9 GB"
    with pytest.raises(ValueError, match=message):
        SemanticModule(num_classes=1703, num_predicates=311, learnable=True)


def test_the_vocabulary_of_gqa_takes_little_memory() -> None:
    """As one array its table would take 3.6 GB, and its counts 7.2 GB."""
    classes, predicates = 1703, 311
    module = SemanticModule(num_classes=classes, num_predicates=predicates)
    triplets = np.arange(5) * classes * classes * predicates // 5
    background = np.zeros((classes, classes), dtype=np.int64)
    counts = predicate_counts.SparsePredicateCounts(
        classes, predicates, triplets, np.ones_like(triplets), background
    )
    module.set_counts(counts)
    assert sum(x.nbytes for x in module.tensors()) < 12e6
    subject, object = np.divmod(triplets // predicates, classes)
    logits = module(torch.from_numpy(subject), torch.from_numpy(object))
    rows = torch.arange(5)
    assert torch.allclose(logits[rows, triplets % predicates], torch.tensor(0.501).log())
