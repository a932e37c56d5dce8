"""L0 to L3 (eq. 1 to 8), values and gradients, against loops over scalars that follow the text."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from reldn_d2.config import add_reldn_config
from reldn_d2.modeling.relation_head.losses import (
    ClassAgnosticTerm,
    ContrastiveLosses,
    EntityClassTerm,
    PredicateClassTerm,
    predicate_cross_entropy,
)
from reldn_d2.structures import EntityBatch, Pairs, PairTargets
from tests.references.losses import L1, L2, L3, Batch, Normalization, slow_contrastive, slow_cross_entropy


def make_batch(
    seed: int,
    counts: list[int],
    num_predicates: int = 3,
    num_classes: int = 3,
    related_share: float = 0.35,
    drawn_share: float = 0.8,
    scale: float = 2.0,
) -> Batch:
    """Random pairs inside each image: related (with labels), unrelated or neither, drawn by some losses."""
    g = torch.Generator().manual_seed(seed)

    def chance(count: int, share: float) -> Tensor:
        return torch.rand(count, generator=g) < share

    image = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.long))
    total = len(image)
    classes = torch.randint(0, num_classes, (total,), generator=g)
    ends = [(a, b) for a in range(total) for b in range(a) if image[a] == image[b]]
    ends = [pair for pair in ends if torch.rand((), generator=g) < 0.9]
    table = torch.tensor(ends, dtype=torch.long).reshape(-1, 2)
    pairs = Pairs.both_directions(table[:, 0], table[:, 1])
    size = len(pairs)
    has_label = (
        chance(size * num_predicates, 0.5).reshape(size, num_predicates)
        & chance(size, related_share)[:, None]
    )
    label = has_label.nonzero()
    label = label[torch.randperm(len(label), generator=g)]
    related = has_label.any(1)
    targets = PairTargets(
        label_pair=label[:, 0],
        label_predicate=label[:, 1],
        related=related,
        unrelated=~related & chance(size, 0.85),
        in_cross_entropy=chance(size, drawn_share),
        subject_side=chance(size, drawn_share),
        object_side=chance(size, drawn_share),
    )
    boxes = torch.rand(total, 4, generator=g)
    entities = EntityBatch(
        boxes=boxes,
        regions=boxes,
        classes=classes,
        scores=torch.rand(total, generator=g),
        image=image,
        image_sizes=torch.full((len(counts), 2), 100.0),
        frames=[(100, 100)] * len(counts),
        counts=counts,
    )
    logits = torch.randn(size, num_predicates + 1, generator=g, dtype=torch.float64) * scale
    return Batch(logits.requires_grad_(), entities, pairs, targets, num_classes)


def losses_of(
    num_classes: int,
    num_predicates: int,
    *,
    margins: tuple[float, float, float] = (0.2, 0.2, 0.2),
    weights: tuple[float, float, float] = (1.0, 0.5, 0.1),
    normalization: Normalization = "anchors",
    background_in_argmax: bool = False,
) -> ContrastiveLosses:
    """L1, L2 and L3, by default with the paper's numbers."""
    numbers: list[dict[str, Any]] = [
        {"margin": margin, "weight": weight, "num_classes": num_classes, "num_predicates": num_predicates}
        for margin, weight in zip(margins, weights, strict=True)
    ]
    terms = {
        "class_agnostic": ClassAgnosticTerm(**numbers[0]),
        "entity_class": EntityClassTerm(**numbers[1]),
        "predicate_class": PredicateClassTerm(**numbers[2], background_in_argmax=background_in_argmax),
    }
    return ContrastiveLosses(terms=terms, normalization=normalization)


def fast(batch: Batch, logits: Tensor | None = None, **options: Any) -> dict[str, Tensor]:
    logits = batch.logits if logits is None else logits
    compute = losses_of(batch.num_classes, logits.shape[1] - 1, **options)
    return compute(logits, batch.entities, batch.pairs, batch.targets)


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    (grad,) = torch.autograd.grad(loss, logits, retain_graph=True)
    assert grad.isfinite().all()
    return grad


batches = st.builds(
    make_batch,
    seed=st.integers(0, 10**6),
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    num_predicates=st.integers(1, 4),
    num_classes=st.integers(1, 4),
    related_share=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    drawn_share=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
)
three = st.tuples(*[st.sampled_from([0.1, 0.2, 0.7, 1.0])] * 3)


@settings(max_examples=120)
@given(batches)
def test_cross_entropy_equals_slow_version(batch: Batch) -> None:
    actual, expected = predicate_cross_entropy(batch.logits, batch.targets), slow_cross_entropy(batch)
    assert actual.shape == ()
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        gradient(actual, batch.logits), gradient(expected, batch.logits), rtol=1e-8, atol=1e-12
    )


@settings(max_examples=150)
@given(batches, three, three, st.sampled_from(["anchors", "published"]), st.booleans())
def test_contrastive_losses_equal_slow_version(
    batch: Batch,
    margins: tuple[float, float, float],
    weights: tuple[float, float, float],
    normalization: Normalization,
    background: bool,
) -> None:
    actual = fast(
        batch, margins=margins, weights=weights, normalization=normalization, background_in_argmax=background
    )
    expected = slow_contrastive(batch, margins, weights, normalization, background)
    assert list(actual) == [L1, L2, L3]
    for name, loss in expected.items():
        assert actual[name].shape == ()
        torch.testing.assert_close(actual[name], loss, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            gradient(actual[name], batch.logits), gradient(loss, batch.logits), rtol=1e-8, atol=1e-12
        )


def test_random_batches_exercise_every_kind_of_cell() -> None:
    """Without such cells the tests above would compare zeros with zeros."""
    batch = make_batch(0, [5, 4, 5])
    weights = (1.0, 1.0, 1.0)
    values = {
        (n, b): slow_contrastive(batch, (0.2, 0.2, 0.2), weights, n, b)
        for n in ("anchors", "published")
        for b in (False, True)
    }
    reference = values["anchors", False]
    assert all(loss > 0 for loss in reference.values())
    assert all(not torch.isclose(values["published", False][name], reference[name]) for name in reference)
    assert not torch.isclose(values["anchors", True][L3], reference[L3])
    assert len({round(loss.item(), 6) for loss in reference.values()}) == 3
    assert len(batch.targets.label_pair) > batch.targets.related.sum(), "pairs with several labels"


def config_of(batch: Batch) -> CfgNode:
    """RelDN's default config, with the classes of a batch."""
    cfg = get_cfg()
    add_reldn_config(cfg)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = batch.num_classes
    cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES = batch.logits.shape[1] - 1
    return cfg


def test_defaults_are_those_of_the_paper() -> None:
    batch = make_batch(1, [5, 5])
    expected = slow_contrastive(batch, (0.2, 0.2, 0.2), (1.0, 0.5, 0.1), "anchors", False)
    actual = ContrastiveLosses(config_of(batch))(batch.logits, batch.entities, batch.pairs, batch.targets)
    assert actual.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name])


def golden_batch() -> Batch:
    """Subject 0, partners 1, 2, 4 of class 1 and 3 of class 0; two predicates; probabilities made by hand."""
    probabilities = {
        (0, 1): (0.40, 0.20, 0.40),  # related by predicate 0, affinity .60
        (0, 2): (0.30, 0.20, 0.50),  # unrelated, affinity .50, mistaken for predicate 0
        (0, 3): (0.20, 0.50, 0.30),  # unrelated, affinity .70, mistaken for predicate 1
        (0, 4): (0.40, 0.25, 0.35),  # related by predicates 0 and 1, affinity .65
        (2, 1): (0.20, 0.25, 0.55),  # unrelated, affinity .45, mistaken for predicate 1
    }
    pairs = Pairs.both_directions(torch.tensor([0, 0, 0, 0, 2]), torch.tensor([1, 2, 3, 4, 1]))
    ordered = list(zip(pairs.subject.tolist(), pairs.object.tolist(), strict=True))
    rows = [probabilities.get(pair, (0.05, 0.05, 0.90)) for pair in ordered]
    member = {name: torch.tensor([pair in chosen for pair in ordered]) for name, chosen in {
        "related": {(0, 1), (0, 4)},
        "unrelated": {(0, 2), (0, 3), (2, 1)},
        "in_cross_entropy": {(0, 1), (0, 4), (0, 2)},
        "subject_side": {(0, 1), (0, 2), (0, 3), (0, 4)},
        "object_side": {(0, 1), (2, 1), (0, 4)},
    }.items()}  # fmt: skip
    labels = torch.tensor([ordered.index((0, 4)), ordered.index((0, 1)), ordered.index((0, 4))])
    entities = EntityBatch(
        boxes=torch.zeros(5, 4),
        regions=torch.zeros(5, 4),
        classes=torch.tensor([0, 1, 1, 0, 1]),
        scores=torch.ones(5),
        image=torch.zeros(5, dtype=torch.long),
        image_sizes=torch.ones(1, 2),
        frames=[(1, 1)],
        counts=[5],
    )
    logits = torch.tensor(rows, dtype=torch.float64).log() + 3.0
    return Batch(
        logits.requires_grad_(),
        entities,
        pairs,
        PairTargets(label_pair=labels, label_predicate=torch.tensor([1, 0, 0]), **member),
        2,
    )


def test_golden_numbers() -> None:
    batch = golden_batch()
    # Samples: (0,1) predicate 0, (0,4) predicates 0 and 1, (0,2) ∅: ln(1 / (.4 * .4 * .25 * .5)) / 4.
    torch.testing.assert_close(
        predicate_cross_entropy(batch.logits, batch.targets).item(), math.log(50) / 4, rtol=1e-9, atol=0
    )
    # L1. Subject 0: .2 - (min(.60, .65) - max(.50, .70)) = .30. Object 1: .2 - (.60 - .45) = .05. Object 4
    #     has no negative. One anchor a side: .30 + .05.
    # L2. Subject 0, class 1: .2 - (.60 - .50) = .10; class 0 has no positive. Object 1: positive's class 0,
    #     negative's class 1, no cell. .10, weighted by .5.
    # L3. Subject 0, predicate 0: .2 - (min(.60, .65) - .50) = .10; predicate 1: .2 - (.65 - .70) = .25;
    #     mean .175. Object 1, predicate 0: the negative is mistaken for 1, no cell. Weighted by .1.
    expected = {L1: 0.35, L2: 0.05, L3: 0.0175}
    assert {name: loss.item() for name, loss in fast(batch).items()} == pytest.approx(expected, rel=1e-9)
    # Published: cells plus one zero. L1 .30/2 + .05/2; L2 .10/2; L3 (.10 + .25)/3.
    published = {L1: 0.175, L2: 0.025, L3: 0.1 * 0.35 / 3}
    actual = fast(batch, normalization="published")
    assert {name: loss.item() for name, loss in actual.items()} == pytest.approx(published, rel=1e-9)
    # With the background in the argmax, (0,2) is predicted as background and leaves only predicate 1.
    assert fast(batch, background_in_argmax=True)[L3].item() == pytest.approx(0.1 * 0.25, rel=1e-9)


def test_golden_gradient_reaches_only_the_hardest_pairs() -> None:
    batch = golden_batch()
    ordered = list(zip(batch.pairs.subject.tolist(), batch.pairs.object.tolist(), strict=True))
    moved = gradient(fast(batch)[L1], batch.logits).abs().sum(1) > 0
    # Subject 0: (0,1) is the weakest positive, (0,3) the strongest negative. Object 1: (0,1) against (2,1).
    assert {pair for pair, flag in zip(ordered, moved.tolist(), strict=True) if flag} == {
        (0, 1),
        (0, 3),
        (2, 1),
    }
    # d affinity / d background logit = -(1 - b) b. (0,1) is pushed up twice, (0,3) and (2,1) down once.
    background = gradient(fast(batch)[L1], batch.logits)[:, 2]
    assert background[ordered.index((0, 1))].item() == pytest.approx(2 * 0.6 * 0.4)
    assert background[ordered.index((0, 3))].item() == pytest.approx(-0.7 * 0.3)
    assert background[ordered.index((2, 1))].item() == pytest.approx(-0.45 * 0.55)


@settings(max_examples=50)
@given(batches)
def test_pairs_that_no_loss_drew_get_no_gradient(batch: Batch) -> None:
    targets = batch.targets
    side = targets.subject_side | targets.object_side
    for loss in fast(batch).values():
        assert not gradient(loss, batch.logits)[~side].any()
        assert not gradient(loss, batch.logits)[~(targets.related | targets.unrelated)].any()
    moved = gradient(predicate_cross_entropy(batch.logits, targets), batch.logits)
    assert not moved[~targets.in_cross_entropy].any()
    assert not moved[~(targets.related | targets.unrelated)].any()


@settings(max_examples=50)
@given(batches, st.integers(0, 10**6), st.sampled_from(["anchors", "published"]))
def test_order_of_pairs_and_labels_does_not_matter(
    batch: Batch, seed: int, normalization: Normalization
) -> None:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(batch.pairs), generator=generator)
    labels = torch.randperm(len(batch.targets.label_pair), generator=generator)
    place = order.argsort()
    pairs = dataclasses.replace(
        batch.pairs, **{n: getattr(batch.pairs, n)[order] for n in ("subject", "object", "union")}
    )
    masks = ("related", "unrelated", "in_cross_entropy", "subject_side", "object_side")
    targets = dataclasses.replace(
        batch.targets,
        label_pair=place[batch.targets.label_pair[labels]],
        label_predicate=batch.targets.label_predicate[labels],
        **{name: getattr(batch.targets, name)[order] for name in masks},
    )
    shuffled = batch._replace(logits=batch.logits.detach()[order], pairs=pairs, targets=targets)
    for name, loss in fast(batch, normalization=normalization).items():
        torch.testing.assert_close(fast(shuffled, normalization=normalization)[name], loss)
    torch.testing.assert_close(
        predicate_cross_entropy(shuffled.logits, targets),
        predicate_cross_entropy(batch.logits, batch.targets),
    )


@pytest.mark.parametrize("normalization", ["anchors", "published"])
def test_joining_images_averages_over_the_anchors_of_all(normalization: Normalization) -> None:
    """The same image twice: means over anchors stay; the zero term of the flat mean weighs half as much."""
    one = make_batch(6, [5], drawn_share=1.0)
    size, entities = len(one.pairs), len(one.entities)

    def twice(value: Tensor, shift: int = 0) -> Tensor:
        return torch.cat([value, value + shift if shift else value])

    p, t, e = one.pairs, one.targets, one.entities
    two = Batch(
        logits=twice(one.logits.detach()),
        entities=EntityBatch(
            boxes=twice(e.boxes),
            regions=twice(e.regions),
            classes=twice(e.classes),
            scores=twice(e.scores),
            image=twice(e.image, 1),
            image_sizes=twice(e.image_sizes),
            frames=e.frames * 2,
            counts=[5, 5],
        ),
        pairs=Pairs(
            twice(p.first, entities),
            twice(p.second, entities),
            twice(p.subject, entities),
            twice(p.object, entities),
            twice(p.union, len(p.first)),
        ),
        targets=PairTargets(
            twice(t.label_pair, size),
            twice(t.label_predicate),
            *(twice(getattr(t, f.name)) for f in dataclasses.fields(t)[2:]),
        ),
        num_classes=one.num_classes,
    )
    single, double = fast(one, normalization=normalization), fast(two, normalization=normalization)
    torch.testing.assert_close(
        predicate_cross_entropy(two.logits, two.targets),
        predicate_cross_entropy(one.logits, one.targets).detach(),
    )
    for name in (L1, L2, L3):
        assert single[name] > 0
        if normalization == "anchors":
            torch.testing.assert_close(double[name], single[name].detach())
        else:
            assert single[name] < double[name] < 2 * single[name]


@pytest.mark.parametrize("zeroed", [(L1,), (L2,), (L3,), (L1, L3), (L1, L2, L3)])
def test_a_weight_of_zero_removes_the_loss(zeroed: tuple[str, ...]) -> None:
    batch = make_batch(2, [4, 4])
    weights = tuple(0.0 if name in zeroed else 1.5 for name in (L1, L2, L3))
    losses = fast(batch, weights=weights)
    assert set(losses) == {L1, L2, L3} - set(zeroed)
    reference = slow_contrastive(batch, (0.2, 0.2, 0.2), (1.5, 1.5, 1.5), "anchors", False)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, reference[name])


def without(batch: Batch, **changes: bool) -> Batch:
    masks = {name: torch.full_like(getattr(batch.targets, name), value) for name, value in changes.items()}
    targets = dataclasses.replace(batch.targets, **masks)
    if changes.get("related") is False:
        empty = targets.label_pair[:0]
        targets = dataclasses.replace(targets, label_pair=empty, label_predicate=empty)
    return batch._replace(targets=targets)


EMPTY: dict[str, Callable[[], Batch]] = {
    "no image has an entity": lambda: make_batch(0, [0, 0]),
    "one entity an image": lambda: make_batch(0, [1, 1, 1]),
    "no image": lambda: make_batch(0, []),
    "nothing related": lambda: without(make_batch(0, [4, 3]), related=False),
    "nothing unrelated": lambda: without(make_batch(0, [4, 3]), unrelated=False),
    "nothing drawn": lambda: without(make_batch(0, [4, 3]), subject_side=False, object_side=False),
}


@pytest.mark.parametrize("normalization", ["anchors", "published"])
@pytest.mark.parametrize("name", sorted(EMPTY))
def test_no_cell_gives_zeros_that_keep_the_graph(name: str, normalization: Normalization) -> None:
    batch = EMPTY[name]()
    losses = fast(batch, normalization=normalization)
    assert list(losses) == [L1, L2, L3]
    for loss in losses.values():
        assert loss.shape == () and loss.item() == 0 and loss.requires_grad
        assert not gradient(loss, batch.logits).any()


@pytest.mark.parametrize(
    "batch", [make_batch(0, [0, 1]), without(make_batch(0, [4]), in_cross_entropy=False)]
)
def test_cross_entropy_without_samples_is_zero_and_keeps_the_graph(batch: Batch) -> None:
    loss = predicate_cross_entropy(batch.logits, batch.targets)
    assert loss.shape == () and loss.item() == 0 and loss.requires_grad
    assert not gradient(loss, batch.logits).any()


@pytest.mark.parametrize("scale", [0.0, 1e2, 1e4, 1e8])
def test_extreme_and_equal_logits_stay_finite(scale: float) -> None:
    batch = make_batch(7, [5, 3], scale=scale)
    logits = batch.logits.detach().float().requires_grad_()
    losses = fast(batch, logits) | {"cross entropy": predicate_cross_entropy(logits, batch.targets)}
    for loss in losses.values():
        assert loss.isfinite()
        gradient(loss, logits)


@pytest.mark.parametrize("seed", range(5))
def test_gradients_agree_with_finite_differences(seed: int) -> None:
    batch = make_batch(seed, [4, 3], scale=1.0)
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

    def total(logits: Tensor) -> Tensor:
        return (torch.stack(list(fast(batch, logits).values())) * weights).sum() + predicate_cross_entropy(
            logits, batch.targets
        )

    assert torch.autograd.gradcheck(total, (batch.logits,), eps=1e-7, atol=1e-5)


def test_each_loss_uses_its_own_margin() -> None:
    batch = make_batch(3, [5, 5])
    base = fast(batch, margins=(0.2, 0.2, 0.2))
    for position, name in enumerate((L1, L2, L3)):
        changed = fast(batch, margins=tuple(0.9 if i == position else 0.2 for i in range(3)))
        assert {other for other in base if changed[other] != base[other]} == {name}


WAITING = ("item", "_local_scalar_dense", "nonzero", "unique", "masked_select", "bincount", "is_nonzero")


def operators(run: Callable[[], object]) -> list[str]:
    """Names of the tensor operations that `run` executes, also of those inside other operations."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        run()
    names = [event.name for event in profiler.events() or []]
    return [name.removeprefix("aten::") for name in names if name.startswith("aten::")]


@pytest.mark.parametrize("normalization", ["anchors", "published"])
def test_work_is_a_fixed_number_of_tensor_operations(normalization: Normalization) -> None:
    """There is no loop over images, anchors, classes or predicates, and no wait for the device."""

    def step(batch: Batch) -> None:
        losses = list(fast(batch, normalization=normalization).values())
        losses.append(predicate_cross_entropy(batch.logits, batch.targets))
        torch.autograd.grad(torch.stack(losses).sum(), batch.logits)

    small, large = make_batch(0, [3]), make_batch(1, [5, 4, 6, 7, 5], num_predicates=9, num_classes=12)
    step(small)
    few, many = operators(lambda: step(small)), operators(lambda: step(large))
    assert "scatter_reduce" in few or len(few) > 20, "the profiler saw nothing"
    assert sorted(few) == sorted(many)
    assert not {name.rstrip("0123456789") for name in many} & set(WAITING)


def test_losses_compile_without_a_graph_break() -> None:
    """The losses read no value, so they need no device sync."""
    batch = make_batch(0, [5, 4])
    contrastive = losses_of(batch.num_classes, batch.logits.shape[1] - 1)

    def all_losses(logits: Tensor, batch: Batch) -> Tensor:
        terms = contrastive(logits, batch.entities, batch.pairs, batch.targets)
        return sum(terms.values(), start=predicate_cross_entropy(logits, batch.targets))

    compiled = torch.compile(all_losses, fullgraph=True, backend="aot_eager")(batch.logits, batch)
    expected = all_losses(batch.logits, batch)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(gradient(compiled, batch.logits), gradient(expected, batch.logits))


@pytest.mark.parametrize("normalization", ["anchors", "published"])
@pytest.mark.parametrize("background", [False, True])
def test_shapes_depend_on_no_value(normalization: Normalization, background: bool) -> None:
    """Fake tensors have shapes and no values: code that reads a value raises an error."""
    batch = make_batch(0, [5, 4])
    values = batch.logits.detach()
    with FakeTensorMode() as fake:

        def faked(structure: Any) -> Any:
            return dataclasses.replace(
                structure,
                **{
                    name: fake.from_tensor(value)
                    for name, value in vars(structure).items()
                    if isinstance(value, Tensor)
                },
            )

        logits = fake.from_tensor(values).requires_grad_()
        compute = losses_of(
            batch.num_classes,
            logits.shape[1] - 1,
            normalization=normalization,
            background_in_argmax=background,
        )
        losses = compute(logits, faked(batch.entities), faked(batch.pairs), faked(batch.targets))
        losses["L0"] = predicate_cross_entropy(logits, faked(batch.targets))
        (grad,) = torch.autograd.grad(sum(losses.values(), start=logits.new_zeros(())), logits)
        assert grad.shape == batch.logits.shape
        with pytest.raises(DataDependentOutputException):
            logits.sum().item()  # a mistake that reads a value


@pytest.mark.parametrize("num_predicates", [14, 15, 40])
def test_long_rows_equal_slow_version(num_predicates: int) -> None:
    """On a CPU, Φ of few predicates is computed in another way than Φ of many."""
    batch = make_batch(3, [5, 4], num_predicates=num_predicates)
    actual, expected = (
        fast(batch),
        slow_contrastive(batch, (0.2, 0.2, 0.2), (1.0, 0.5, 0.1), "anchors", False),
    )
    for name, loss in expected.items():
        torch.testing.assert_close(actual[name], loss, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(gradient(actual[name], batch.logits), gradient(loss, batch.logits))


def test_losses_of_a_diverged_model_are_nan() -> None:
    batch = make_batch(0, [5, 4])
    losses = fast(batch, batch.logits.detach() * torch.nan)
    assert all(loss.isnan() for loss in losses.values())
