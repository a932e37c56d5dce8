"""`accelerate`: the same numbers, the same parameters, whatever happens to the weights later."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reldn_d2.modeling import RelDN, accelerate, as_built
from reldn_d2.modeling.acceleration import RegionPooler, prepared_layers
from tests.builders.ranked_lists import assert_same_triplets
from tests.builders.tiny_models import TinyConfig, make_input, make_model

INPUTS = [make_input(5, [(0, 1, 2), (2, 3, 1)], seed=1), make_input(4, [(3, 0, 4)], seed=2)]
Change = Callable[[Conv2d], None]


def make_norm(kind: type[nn.Module]) -> nn.Module:
    """A normalisation layer with numbers of its own."""
    norm = kind(4)
    with torch.no_grad():
        for x in (norm.weight, norm.bias, norm.running_mean):
            x.copy_(torch.randn(4))
        norm.running_var.copy_(torch.rand(4) + 0.5)
    return norm.requires_grad_(False).eval()


def make_conv(norm: nn.Module | None, *, bias: bool = False) -> Conv2d:
    """A convolution with frozen weights, a normalisation and an activation."""
    torch.manual_seed(0)
    layer = Conv2d(3, 4, 3, padding=1, stride=2, bias=bias, norm=norm, activation=torch.relu)
    layer.weight.requires_grad_(False)
    return layer


def as_it_was(layer: nn.Module) -> nn.Module:
    """A copy of an accelerated convolution that computes as Detectron2's does."""
    plain = copy.deepcopy(layer)
    plain.__class__ = Conv2d
    return plain


@pytest.fixture
def models(tiny_config: TinyConfig) -> tuple[RelDN, RelDN]:
    """The same model twice; the second one is accelerated."""
    plain, fast = make_model(tiny_config()), make_model(tiny_config())
    return plain, accelerate(fast)


def losses_and_gradients(model: RelDN) -> dict[str, Tensor]:
    torch.manual_seed(3)
    with EventStorage():
        losses = model.train()(INPUTS)
    sum(losses.values()).backward()
    grads = {name: x.grad for name, x in model.named_parameters() if x.grad is not None}
    return {**losses, **grads}


@pytest.mark.parametrize("task", ["sgdet", "sgcls", "prdcls"])
def test_answers_stay(models: tuple[RelDN, RelDN], task: str) -> None:
    answers = []
    for model in models:
        model.eval().task = task
        answers.append(model(INPUTS))
    for plain, fast in zip(*answers, strict=True):
        assert_same_triplets(fast["relations"], plain["relations"], rounding=1e-4)
        ours, theirs = fast["instances"], plain["instances"]
        torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(ours.pred_boxes.tensor, theirs.pred_boxes.tensor, rtol=1e-4, atol=1e-3)


def test_losses_and_gradients_stay(models: tuple[RelDN, RelDN]) -> None:
    plain, fast = map(losses_and_gradients, models)
    assert plain.keys() == fast.keys() and len(plain) > 20
    for name, value in plain.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(fast[name], value, rtol=1e-3, atol=1e-4 * scale, msg=name)


def test_names_and_values_of_parameters_stay(models: tuple[RelDN, RelDN]) -> None:
    plain, fast = (model.state_dict() for model in models)
    assert list(plain) == list(fast)
    assert all(torch.equal(plain[name], fast[name]) for name in plain)
    assert all(plain[name].stride() == fast[name].stride() for name in plain)
    poolers = [module for module in models[1].modules() if isinstance(module, ROIPooler)]
    assert len(poolers) == 2 and all(type(x) is RegionPooler for x in poolers)


def test_copies_and_pickles_compute_the_same_and_hold_nothing_prepared(models: tuple[RelDN, RelDN]) -> None:
    _, fast = models
    fast.eval().task = "prdcls"
    answer = fast(INPUTS)[0]["relations"].scores
    layer = fast.backbone.bottom_up.stem.conv1
    assert layer._prepared._kept is not None
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert other.backbone.bottom_up.stem.conv1._prepared._kept is None
        torch.testing.assert_close(other(INPUTS)[0]["relations"].scores, answer)


def test_flops_are_counted(models: tuple[RelDN, RelDN]) -> None:
    counts = []
    for model in models:
        model.eval().task = "prdcls"
        with FlopCounterMode(display=False) as counter:
            model(INPUTS)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 1e6


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", [FrozenBatchNorm2d, nn.BatchNorm2d])
def test_a_frozen_norm_is_folded(kind: type[nn.Module], bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_conv(make_norm(kind), bias=bias)
    x = torch.randn(2, 3, 8, 8)
    expected = layer(x)
    accelerate(layer)
    monkeypatch.setattr(type(layer.norm), "forward", lambda *_: pytest.fail("the norm itself ran"))
    torch.testing.assert_close(layer(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
def test_a_folded_weight_has_the_format_of_the_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch copies a weight of another format in each call."""
    layer: Any = accelerate(Conv2d(4, 4, 3, norm=FrozenBatchNorm2d(4)).requires_grad_(False))
    given: list[torch.Tensor] = []
    convolve = layer._conv_forward
    monkeypatch.setattr(
        layer, "_conv_forward", lambda x, weight, bias: given.append(weight) or convolve(x, weight, bias)
    )
    for _ in range(2):
        layer(torch.randn(1, 4, 8, 8))
    assert given[0] is given[1] and given[0].is_contiguous(memory_format=torch.channels_last)


# The weight has 27 numbers for each output channel. The output has 4 and 128 places.
@pytest.mark.parametrize(("size", "weight_is_scaled"), [(2, False), (8, True)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", [FrozenBatchNorm2d, nn.BatchNorm2d])
def test_gradients_pass_a_folded_norm(
    kind: type[nn.Module], bias: bool, size: int, weight_is_scaled: bool
) -> None:
    layer = make_conv(make_norm(kind), bias=bias)
    layer.weight.requires_grad_(True)
    x = torch.randn(1 if size == 2 else 2, 3, size, size, requires_grad=True)
    grads, kept = [], []
    for way in (layer, accelerate(copy.deepcopy(layer))):
        saved: list[torch.Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, saved=saved: saved.append(x) or x, lambda x: x
        ):
            found = way(x)
        kept.append({t.data_ptr() for t in saved if t.shape == way.weight.shape} - {way.weight.data_ptr()})
        grads.append([found, *torch.autograd.grad(found.square().sum(), [x, way.weight])])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert not kept[0] and len(kept[1]) == weight_is_scaled


def _load(layer: Conv2d) -> None:
    layer.load_state_dict({name: torch.rand_like(x) for name, x in layer.state_dict().items()}, strict=False)


def _step(layer: Conv2d) -> None:
    layer.weight.grad = torch.ones_like(layer.weight)
    torch.optim.SGD([layer.weight], 0.1).step()


def _replace(layer: Conv2d) -> None:
    layer.norm.bias = layer.norm.bias + 1


def _new_norm(layer: Conv2d) -> None:
    torch.manual_seed(5)
    layer.norm = make_norm(FrozenBatchNorm2d)


def _eps(layer: Conv2d) -> None:
    layer.norm.eps = 0.5


def _other_type(layer: Conv2d) -> None:
    layer.norm.bias = layer.norm.bias.half().float() + 1
    layer.double().float()


def _unseen(layer: Conv2d) -> None:
    layer.weight.data.mul_(2)
    accelerate(layer)


CHANGES = pytest.mark.parametrize(
    "change",
    [_load, _step, _replace, _new_norm, _eps, _other_type, _unseen],
    ids=lambda change: change.__name__,
)


@CHANGES
@torch.no_grad()
def test_folded_weights_follow_the_parameters(change: Change) -> None:
    layer = accelerate(make_conv(make_norm(FrozenBatchNorm2d)))
    x = torch.randn(2, 3, 8, 8)
    before = layer(x)
    change(layer)
    after = layer(x)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, as_it_was(layer)(x))


def test_a_norm_that_learns_or_counts_or_is_watched_stays() -> None:
    x = torch.randn(2, 3, 8, 8)
    learning = make_norm(nn.BatchNorm2d).requires_grad_(True)
    counting = make_norm(nn.BatchNorm2d).train()
    watched, seen = make_norm(FrozenBatchNorm2d), []
    watched.register_forward_hook(lambda *_: seen.append(1))
    for norm in (learning, counting, watched, None):
        layer = make_conv(norm)
        plain = copy.deepcopy(layer)
        torch.testing.assert_close(accelerate(layer)(x), plain(x))
    assert len(seen) == 2
    layer = accelerate(make_conv(learning))
    layer(x).sum().backward()
    assert learning.weight.grad is not None


@torch.no_grad()
def test_autocast_converts_weights_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = accelerate(
        nn.Sequential(
            make_conv(make_norm(FrozenBatchNorm2d)),
            make_conv(None),
            nn.Conv2d(4, 2, 1),
            nn.Flatten(),
            nn.Linear(2 * 2 * 2, 3),
        )
    )
    model[1] = accelerate(Conv2d(4, 4, 3, padding=1, stride=2))
    model.requires_grad_(False)
    plain = copy.deepcopy(model)
    for layer, kind in zip(plain, (Conv2d, Conv2d, nn.Conv2d, nn.Flatten, nn.Linear), strict=True):
        layer.__class__ = kind
    converted = []
    convert = prepared_layers._converted
    monkeypatch.setattr(
        prepared_layers, "_converted", lambda *args: converted.append(args[2]) or convert(*args)
    )
    x = torch.randn(2, 3, 8, 8)
    exact = model(x)
    assert converted == [None]  # folded only
    with torch.autocast("cpu", torch.bfloat16):
        first, second, usual = model(x), model(x), plain(x)
    assert converted[1:] == [torch.bfloat16] * 4
    assert first.dtype == torch.bfloat16 and torch.equal(first, second)
    torch.testing.assert_close(first.float(), usual.float(), rtol=0.05, atol=0.05)
    torch.testing.assert_close(first.float(), exact, rtol=0.1, atol=0.1)
    model[4].weight.mul_(2)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(model(x), first)
    assert converted[5:] == [torch.bfloat16]  # the changed layer alone
    torch.testing.assert_close(model[:4](x), plain[:4](x))


def test_weights_prepared_in_inference_mode_can_be_trained_with() -> None:
    frozen = accelerate(make_conv(make_norm(FrozenBatchNorm2d)).requires_grad_(False))
    x = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        frozen(x)
    leaf = x.clone().requires_grad_()
    frozen(leaf).sum().backward()
    assert leaf.grad is not None


@pytest.mark.parametrize("layer", [nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 3), Conv2d(64, 64, 1, stride=2)])
def test_gradients_have_the_strides_of_their_weights(layer: nn.Conv2d) -> None:
    """DistributedDataParallel warns of others."""
    model = accelerate(nn.Sequential(layer)).train()
    assert model[0]._prepared.channels_last
    model(torch.rand(2, 64, 8, 8, requires_grad=True)).square().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.stride() == layer.weight.stride()


@pytest.mark.parametrize("channels", [2, 3, 5, 31, 32])
@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2d])
def test_strided_points_are_computed_without_their_stride(
    kind: type[nn.Conv2d], channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some versions of oneDNN destroy memory in the backward pass of the strided convolution."""
    plain = kind(channels, 8, 1, stride=2)
    fast = accelerate(copy.deepcopy(plain))
    x = torch.randn(2, channels, 9, 12)
    found = []
    for way in (plain, fast):
        leaf = x.clone().requires_grad_()
        y = way(leaf)
        found.append([y, *torch.autograd.grad(y.square().sum(), [leaf, way.weight, way.bias])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    if channels < 32:
        monkeypatch.setattr(type(fast), "_conv_forward", lambda *_: pytest.fail("the stride was used"))
        fast(x)


class _Strange(nn.Conv2d):
    """A convolution that is not prepared."""


@pytest.mark.parametrize(
    ("layer", "is_safe"),
    [
        (_Strange(4, 4, 1, stride=2), False),
        (Conv2d(4, 4, 1, stride=2, padding=1), False),
        (Conv2d(4, 4, 1, stride=2), True),
        (_Strange(64, 4, 1, stride=2), True),
        (_Strange(4, 4, 3, stride=2), True),
    ],
)
def test_a_model_keeps_its_memory_format_where_that_is_safer(layer: nn.Module, is_safe: bool) -> None:
    model = accelerate(nn.Sequential(nn.Conv2d(3, 4, 3), layer))
    y = model[0](torch.randn(1, 3, 8, 8))
    assert y.is_contiguous(memory_format=torch.channels_last) == is_safe != y.is_contiguous()


def test_it_can_be_undone(models: tuple[RelDN, RelDN]) -> None:
    plain, fast = models
    assert as_built(plain) is plain
    as_built(fast)
    for a, b in zip(plain.modules(), fast.modules(), strict=True):
        assert type(a) is type(b) and "_prepared" not in b.__dict__


@torch.inference_mode()
def test_a_model_of_inference_mode_works() -> None:
    layer = make_conv(make_norm(FrozenBatchNorm2d))
    x = torch.randn(1, 3, 8, 8)
    expected = layer(x)
    accelerate(layer)
    torch.testing.assert_close(layer(x), expected)
    layer.weight.mul_(2)  # PyTorch does not count this change
    torch.testing.assert_close(layer(x), as_it_was(layer)(x))


def test_weights_that_a_fused_optimizer_changes_are_not_kept() -> None:
    """Fused optimizers change parameters, but do not count the change."""
    layers = nn.Sequential(make_conv(make_norm(FrozenBatchNorm2d)), nn.Flatten(), nn.Linear(64, 3))
    accelerate(layers)
    layers[0].weight.requires_grad_(True)
    plain = copy.deepcopy(layers)
    plain[0].__class__, plain[2].__class__ = Conv2d, nn.Linear
    x = torch.randn(2, 3, 8, 8)
    optimizer = torch.optim.AdamW(layers.parameters(), lr=0.5, fused=True)

    def in_bf16(model: nn.Module) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x).float()

    for _ in range(2):
        in_bf16(layers).square().sum().backward()
        with torch.no_grad():
            in_bf16(layers)
            optimizer.step()
            plain.load_state_dict(layers.state_dict())
            torch.testing.assert_close(in_bf16(layers), in_bf16(plain), rtol=0.05, atol=0.1)


@torch.no_grad()
def test_trained_weights_are_converted_once_in_an_inference(
    models: tuple[RelDN, RelDN], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, fast = models
    fast.eval().task = "prdcls"
    fast.relation_head.chunk_size = 2
    linear = fast.relation_head.pair_classifier.predicate_head.fc1
    converted = []
    convert = prepared_layers._converted
    monkeypatch.setattr(
        prepared_layers, "_converted", lambda *args: converted.append(args[0]) or convert(*args)
    )
    for number in (1, 2):
        with torch.autocast("cpu", torch.bfloat16):
            fast(INPUTS)
        assert sum(weight is linear.weight for weight in converted) == number


@torch.no_grad()
def test_the_address_of_an_old_tensor_is_not_taken_for_the_old_tensor() -> None:
    layer = accelerate(make_conv(make_norm(FrozenBatchNorm2d)))
    x = torch.randn(2, 3, 8, 8)
    for seed in range(5):
        layer(x)
        # Held, so that no other tensor gets their address.
        assert layer.weight.data_ptr() in {held.data_ptr() for held in layer._prepared._kept[2]}
        for _ in range(2):  # the second tensor may get the memory of the first one
            torch.manual_seed(seed)
            state = {name: torch.rand_like(value) for name, value in layer.state_dict().items()}
            layer.load_state_dict(state, assign=True)
            layer.requires_grad_(False)
            del state
        torch.testing.assert_close(layer(x), as_it_was(layer)(x))


@torch.no_grad()
def test_a_norm_without_parameters_may_go_on_counting() -> None:
    norm = nn.BatchNorm2d(4, affine=False)
    layer = accelerate(make_conv(norm))
    x = torch.randn(2, 3, 8, 8)
    for _ in range(2):
        norm.train()
        layer(x * 3 + 1)
        norm.eval()
        torch.testing.assert_close(layer(x), as_it_was(layer)(x))


@torch.no_grad()
def test_a_pooler_keeps_its_hooks_and_all_its_names() -> None:
    model = nn.Module()
    model.first = model.second = ROIPooler(3, (1 / 4,), 2, "ROIAlignV2")
    seen: list[int] = []
    model.first.register_forward_hook(lambda *_: seen.append(1))
    accelerate(model)
    assert type(model.first) is RegionPooler and model.second is model.first
    model.first([torch.randn(1, 2, 8, 8)], [Boxes(torch.tensor([[0.0, 0, 9, 9]]))])
    assert seen == [1]


def test_scores_of_a_detector_have_all_digits_under_autocast(models: tuple[RelDN, RelDN]) -> None:
    _, fast = models
    fast.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits, deltas = fast.proposal_generator.rpn_head(
            [torch.randn(1, 16, 4, 4) for _ in fast.proposal_generator.in_features]
        )
        scores, boxes = fast.roi_heads.box_predictor(torch.randn(3, 32))
    assert {x.dtype for x in (*logits, *deltas, scores, boxes)} == {torch.float32}
