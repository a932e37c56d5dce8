"""What a GPU must do as a CPU does: `make test-gpu`. Without the mark `gpu`, the same steps run on a CPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor

from reldn_d2.engine import Trainer
from reldn_d2.engine.autocast_trainer import AutocastTrainer
from reldn_d2.modeling import RelDN, accelerate
from reldn_d2.modeling.relation_head import ContrastiveLosses, predicate_cross_entropy
from tests.builders.narrow_resnet import SCENES_RESNET
from tests.builders.ranked_lists import assert_same_triplets
from tests.builders.tiny_models import TinyConfig, make_input, make_model
from tools.benchmarks import losses as loss_benchmark

GPU = pytest.param("cuda", marks=pytest.mark.gpu)
DEVICES = ["cpu", GPU]
# CPUs without instructions for bfloat16 take long.
LONG_ON_CPUS = [pytest.param("cpu", marks=pytest.mark.slow), GPU]
RELATIONS = [(0, 1, 2), (1, 2, 0), (3, 0, 5)]


@pytest.fixture
def tiny_config(tiny_config: TinyConfig) -> TinyConfig:
    """The tiny configs of all tests, but with the backbone that the tolerances below were chosen for."""
    return lambda *opts, **settings: tiny_config(*SCENES_RESNET, *opts, **settings)


@pytest.fixture(autouse=True)
def full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions of a GPU compute with all digits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@contextmanager
def no_waiting(device: str) -> Iterator[None]:
    """Makes PyTorch raise an error where the CPU would wait for the GPU."""
    if device == "cpu":
        yield
        return
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def peak_mb(device: str, function: Callable[[], object]) -> float:
    """Peak memory of a GPU, above what is held before, in MB (1e6 bytes); 0 on a CPU."""
    if device == "cpu":
        function()
        return 0.0
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    function()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - held) / 1e6


def two_images() -> list[dict[str, Any]]:
    """Inputs with few entities, so that no pair is drawn at random, and with detections."""
    inputs = []
    for seed, count in enumerate((5, 4)):
        record = make_input(count, RELATIONS, seed=seed)
        truth = record["instances"]
        record["detections"] = Instances(
            truth.image_size,
            pred_boxes=Boxes(truth.gt_boxes.tensor + 1.0),
            pred_classes=truth.gt_classes,
            scores=torch.linspace(0.9, 0.3, count),
        )
        inputs.append(record)
    return inputs


def on(device: str, model: RelDN) -> RelDN:
    """An accelerated copy of a model on a device."""
    return accelerate(deepcopy(model).to(device))


@pytest.mark.parametrize("device", DEVICES)
def test_losses_and_gradients_are_those_of_the_cpu(device: str, tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config())
    model.training_setup.warns = False
    found: list[tuple[dict[str, Tensor], list[Tensor]]] = []
    for trained in (model.train(), on(device, model).train()):
        with EventStorage():
            losses = trained(two_images())
        sum(losses.values()).backward()
        assert all(loss.device.type == trained.device.type for loss in losses.values())
        gradients = [x.grad.cpu() for x in trained.parameters() if x.grad is not None]
        found.append(({name: loss.detach().cpu() for name, loss in losses.items()}, gradients))
    (expected, expected_gradients), (losses, gradients) = found
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-6)
    assert len(gradients) == len(expected_gradients) > 10
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-3 * float(wanted.abs().max()) + 1e-9)


@pytest.mark.parametrize("task", ["sgdet", "prdcls"])
@pytest.mark.parametrize("device", DEVICES)
def test_relationships_are_those_of_the_cpu(device: str, task: str, tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config("MODEL.ROI_RELATION_HEAD.TEST.TASK", task)).eval()
    expected = model(two_images())
    outputs = on(device, model).eval()(two_images())
    for output, wanted in zip(outputs, expected, strict=True):
        assert_same_triplets(output["relations"], wanted["relations"], rounding=1e-3)


def parameters(model: RelDN) -> list[Tensor]:
    """Copies of the parameters that are trained."""
    return [x.detach().clone() for x in model.parameters() if x.requires_grad]


def check_training(trainer: SimpleTrainer, model: RelDN, steps: int) -> None:
    """Trains, and checks that weights have changed and are finite."""
    before = parameters(model)
    trainer.train(0, steps)
    after = parameters(model)
    assert all(x.isfinite().all() and x.dtype == torch.float32 for x in after)
    changed = sum(not torch.equal(x, y) for x, y in zip(before, after, strict=True))
    assert changed > len(after) / 2


def trained_model(cfg: Any) -> tuple[RelDN, torch.optim.Optimizer]:
    """An accelerated model and its optimizer."""
    model = make_model(cfg)
    model.training_setup.warns = False
    model = accelerate(model).train()
    return model, Trainer.build_optimizer(cfg, model)


@pytest.mark.gpu
def test_training_steps_with_scaled_gradients_in_half_precision(tiny_config: TinyConfig) -> None:
    model, optimizer = trained_model(tiny_config("MODEL.DEVICE", "cuda"))
    trainer = AMPTrainer(model, [two_images()] * 30, optimizer, precision=torch.float16)
    # The first steps may be left out: the scaler begins with a scale that is too large.
    check_training(trainer, model, 25)


@pytest.mark.parametrize("device", LONG_ON_CPUS)
def test_training_steps_in_bfloat16(device: str, tiny_config: TinyConfig) -> None:
    model, optimizer = trained_model(tiny_config("MODEL.DEVICE", device))
    trainer = AutocastTrainer(model, [two_images()] * 2, optimizer, precision="bf16")
    check_training(trainer, model, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@pytest.mark.parametrize("device", LONG_ON_CPUS)
def test_losses_in_mixed_precision_are_float32(
    device: str, dtype: torch.dtype, tiny_config: TinyConfig
) -> None:
    model, _ = trained_model(tiny_config("MODEL.DEVICE", device))
    with EventStorage(), torch.autocast(device, dtype):
        losses = model(two_images())
    with EventStorage():
        expected = model(two_images())
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, expected[name], rtol=0.1, atol=0.05)


@pytest.mark.parametrize("device", DEVICES)
def test_the_losses_never_wait(device: str) -> None:
    batch = loss_benchmark._batch(30, 9, 57)
    terms = ContrastiveLosses(terms=loss_benchmark._terms(batch))

    def run(device: str) -> list[Tensor]:
        logits = batch.logits.detach().to(device).requires_grad_()
        rest = [
            replace(x, **{f.name: getattr(x, f.name).to(device) for f in fields(x) if is_tensor(x, f.name)})
            for x in batch[1:4]
        ]

        def losses() -> list[Tensor]:
            found = terms(logits, *rest)
            total = torch.stack([*found.values(), predicate_cross_entropy(logits, rest[2])]).sum()
            return [total.detach(), *torch.autograd.grad(total, logits)]

        losses()  # what is made once may wait
        with no_waiting(device):
            result = losses()
        return [x.cpu() for x in result]

    torch.testing.assert_close(run(device), run("cpu"), rtol=1e-4, atol=1e-6)


def is_tensor(record: object, name: str) -> bool:
    return isinstance(getattr(record, name), Tensor)


@pytest.mark.parametrize("device", DEVICES)
@torch.no_grad()
def test_the_chunk_limits_the_memory_of_inference(device: str, tiny_config: TinyConfig) -> None:
    opts = ("MODEL.ROI_RELATION_HEAD.TEST.TASK", "prdcls", "MODEL.FPN.OUT_CHANNELS", "64")
    model = on(device, make_model(tiny_config(*opts)).eval())
    inputs = [make_input(40, RELATIONS)]
    model(inputs)
    peaks, scores = [], []
    for chunk_size in (32, 40 * 39):
        model.relation_head.chunk_size = chunk_size
        peaks.append(peak_mb(device, lambda: scores.append(model(inputs)[0]["relations"].scores.cpu())))
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-4, atol=1e-7)
    in_chunks, at_once = peaks
    if device != "cpu":
        # The backbones' maps are in both. Regions of all pairs at once have 24 times the chunk's.
        assert in_chunks < at_once / 2
