"""Stages that both backbones share are computed once, and only where they are equal and frozen."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from detectron2.layers import Conv2d
from detectron2.utils.events import EventStorage
from torch import nn

from reldn_d2.modeling import RelDN, accelerate
from reldn_d2.modeling.acceleration.prepared_layers import PreparedConv2d
from reldn_d2.modeling.acceleration.shared_start import SharedStart, Started
from tests.builders.tiny_models import TinyConfig, make_input, make_model

INPUTS = [make_input(4, [(0, 1, 2), (2, 3, 1)])]
# The stem, res2 and res3 have fixed weights, and all norms are frozen.
FROZEN = ("MODEL.BACKBONE.FREEZE_AT", "3", "MODEL.RESNETS.NORM", "FrozenBN")
Config = Callable[..., RelDN]


@pytest.fixture
def make(tiny_config: TinyConfig) -> Config:
    """Makes a model whose predicate backbone starts as a copy of the detector's."""

    def build(*options: str) -> RelDN:
        model = make_model(tiny_config(*options))
        model.relation_backbone.load_state_dict(model.backbone.state_dict())
        model.task = "prdcls"
        return model

    return build


def ran_twice(model: RelDN) -> list[str]:
    """The stages that the predicate backbone computes itself, found without hooks in it."""
    net = model.relation_backbone.bottom_up
    ran: set[int] = set()
    with pytest.MonkeyPatch.context() as patch:
        for kind in (Conv2d, PreparedConv2d):
            forward = kind.forward
            patch.setattr(
                kind, "forward", lambda layer, x, forward=forward: ran.add(id(layer)) or forward(layer, x)
            )
        with torch.no_grad():
            model.eval()(INPUTS)
    stages = [("stem", net.stem), *zip(net.stage_names, net.stages, strict=True)]
    return [name for name, stage in stages if any(id(layer) in ran for layer in stage.modules())]


def test_frozen_and_equal_stages_run_once(make: Config) -> None:
    assert ran_twice(accelerate(make(*FROZEN))) == ["res4", "res5"]


def test_nothing_is_shared_without_accelerate(make: Config) -> None:
    assert ran_twice(make(*FROZEN)) == ["stem", "res2", "res3", "res4", "res5"]


def test_stages_that_are_trained_run_twice(make: Config) -> None:
    assert ran_twice(accelerate(make())) == ["stem", "res2", "res3", "res4", "res5"]


def test_stages_with_other_weights_run_twice(make: Config) -> None:
    model = accelerate(make(*FROZEN))
    with torch.no_grad():
        next(model.relation_backbone.bottom_up.res2.parameters()).add_(1)
    assert ran_twice(model) == ["res2", "res3", "res4", "res5"]
    next(model.backbone.bottom_up.res2.parameters()).data = next(
        model.relation_backbone.bottom_up.res2.parameters()
    ).data.clone()
    assert ran_twice(model) == ["res4", "res5"]  # equal again
    with torch.no_grad():
        next(model.relation_backbone.bottom_up.stem.buffers()).add_(1)
    assert ran_twice(model) == ["stem", "res2", "res3", "res4", "res5"]


def test_stages_of_another_kind_run_twice(make: Config) -> None:
    model = accelerate(make(*FROZEN))
    model.relation_backbone.bottom_up.stem.conv1.stride = (1, 1)
    model.relation_backbone.bottom_up.stem.conv1.padding = (4, 4)
    start = model._shared_start(model.backbone, model.relation_backbone, torch.zeros(1, 3, 64, 64))
    assert not isinstance(start, Started)


@pytest.mark.parametrize("task", ["sgdet", "prdcls"])
def test_answers_stay(make: Config, task: str) -> None:
    answers = []
    for way in (lambda model: model, accelerate):
        model = way(make(*FROZEN)).eval()
        model.task = task
        answers.append(model(INPUTS)[0]["relations"].scores)
    torch.testing.assert_close(answers[1], answers[0], rtol=1e-4, atol=1e-6)


def test_losses_and_gradients_stay(make: Config) -> None:
    found = []
    for way in (lambda model: model, accelerate):
        model = way(make(*FROZEN)).train()
        torch.manual_seed(1)
        with EventStorage():
            losses = model(INPUTS)
        sum(losses.values()).backward()
        weight = model.relation_backbone.bottom_up.res4[0].conv1.weight
        assert model.relation_backbone.bottom_up.res3[0].conv1.weight.grad is None
        found.append([*losses.values(), weight.grad])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4 * float(a.abs().max()))


def test_copies_and_pickles_find_out_again(make: Config) -> None:
    model = accelerate(make(*FROZEN)).eval()
    expected = model(INPUTS)[0]["relations"].scores
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other(INPUTS)[0]["relations"].scores, expected)
        assert ran_twice(other) == ["res4", "res5"]


def test_a_backbone_of_another_kind_is_left_alone() -> None:
    model = accelerate(nn.Sequential(nn.Conv2d(3, 3, 1)))
    images = torch.zeros(1, 3, 8, 8)
    assert SharedStart()(model, model, images) is images
    assert SharedStart()(model, None, images) is images


def _hook(model: RelDN) -> None:
    model.relation_backbone.bottom_up.stem.register_forward_hook(lambda *call: call[-1] * 2)


def _inner_hook(model: RelDN) -> None:
    model.backbone.bottom_up.stem.conv1.register_forward_hook(lambda *call: call[-1] * 2)


def _pre_hook(model: RelDN) -> None:
    model.relation_backbone.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 2,))


def _other_forward(model: RelDN) -> None:
    stem = model.relation_backbone.bottom_up.stem
    stem.forward = lambda x, forward=stem.forward: forward(x) * 2


def _other_forward_of_all(model: RelDN) -> None:
    net = model.relation_backbone
    net.forward = lambda x, forward=net.forward: forward(x * 2)


@pytest.mark.parametrize(
    "watch",
    [_hook, _inner_hook, _pre_hook, _other_forward, _other_forward_of_all],
    ids=lambda watch: watch.__name__,
)
def test_hooks_work_as_without_accelerate(make: Config, watch: Callable[[RelDN], None]) -> None:
    answers = []
    for way in (lambda model: model, accelerate):
        model = way(make(*FROZEN)).eval()
        watch(model)
        answers.append(model(INPUTS)[0]["relations"].scores)
    torch.testing.assert_close(answers[1], answers[0], rtol=1e-4, atol=1e-6)
