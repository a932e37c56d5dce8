"""A training step of the scenes' detector and of RelDN: accelerated, and as Detectron2 builds the model.

A step is forward pass, backward pass and optimizer, of 8 drawn scenes. Weights are random, and the learning
rate is 0, so that all steps do the same work. RelDN is given detections: the annotated entities, several
times, each moved a little.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.data.synthetic.dataset import scene_dict
from reldn_d2.data.synthetic.drawing import draw_scene
from reldn_d2.data.synthetic.scene import make_scene
from reldn_d2.engine import Trainer, load_config
from tests.builders.tiny_models import calm_down, make_model

from .timing import Row, Skipped, Timer
from .ways import ACCELERATED, ACCELERATED_BF16, AS_BUILT, Way

MODELS = {"detector": "scenes/detector.yaml", "RelDN": "scenes/reldn.yaml"}
_SCENES, _DETECTIONS = 8, 40
_SMALL = 0.01
Answer = tuple[dict[str, Tensor], list[Tensor]]  # losses, and gradients of the parameters
# Rounding may change a proposal of the detector, and so which ones are drawn.
_ROUNDING = {"detector": 1e-2, "RelDN": 1e-3}
_BF16_ROUNDING = 0.1  # 8 significant bits in each layer


def rows(timer: Timer) -> Iterator[Row | Skipped]:
    """Measures the step of both models, in float32 and in bfloat16."""
    for model in MODELS:
        old = Step(config(model), AS_BUILT, timer.device)
        for way, tolerance in ((ACCELERATED, _ROUNDING[model]), (ACCELERATED_BF16, _BF16_ROUNDING)):
            yield timer.measure(
                f"training step of the {_SCENES} scenes' {model}, {way}",
                Step(config(model), way, timer.device),
                slow=old,
                slow_name=str(AS_BUILT),
                same=partial(same_losses, tolerance=tolerance),
                precision=way.precision,
            )


def config(model: str, *opts: str) -> CfgNode:
    """The config of one of `MODELS`."""
    return load_config(MODELS[model], ["MODEL.WEIGHTS", "", "SOLVER.BASE_LR", "0.0", *opts])


class Step:
    """A training step. All steps of a config draw the same random numbers, and get the same answer."""

    def __init__(self, cfg: CfgNode, way: Way, device: str, scenes: int = _SCENES) -> None:
        """Builds model, optimizer and inputs.

        Args:
            cfg: result of `config`.
            way: how the model runs.
            device: "cpu" or "cuda".
            scenes: number of scenes in the batch.
        """
        cfg.MODEL.DEVICE = device
        if cfg.MODEL.META_ARCHITECTURE == "RelDN":
            model: Any = make_model(cfg)
            model.training_setup.warns = False  # weights are random on purpose
            for layer in model.relation_head.pair_classifier.visual.output_layers():
                # Logits of features that are not trained would leave no loss that depends on them.
                layer.weight.data.mul_(_SMALL)
        else:
            torch.manual_seed(0)
            model = build_model(cfg)
            calm_down(model)
        self.way, self.device = way, device
        self.inputs = _inputs(cfg, scenes)
        self.model = way.prepare(model).train()
        self.optimizer = Trainer.build_optimizer(cfg, self.model)

    def __call__(self) -> Answer:
        """Takes a step. Returns the losses and the gradients."""
        torch.manual_seed(0)
        with EventStorage():
            with self.way.autocast(self.device):
                losses = self.model(self.inputs)
            total = torch.stack([loss.float() for loss in losses.values()]).sum()
            self.optimizer.zero_grad()
            torch.autograd.backward(total)
            self.optimizer.step()
        return losses, [x.grad for x in self.model.parameters() if x.grad is not None]


def same_losses(ours: Answer, theirs: Answer, *, tolerance: float) -> None:
    """Compares losses, and the norm of all gradients, of the same weights, inputs and random numbers."""
    assert ours[0].keys() == theirs[0].keys(), "other losses"
    assert len(ours[1]) == len(theirs[1]), "other parameters have gradients"
    numbers = [
        torch.stack([*losses.values(), torch.stack([x.norm() for x in gradients]).norm()]).float()
        for losses, gradients in (ours, theirs)
    ]
    torch.testing.assert_close(*numbers, rtol=tolerance, atol=1e-6)


def _inputs(cfg: CfgNode, scenes: int) -> list[dict[str, Any]]:
    mapper = RelationDatasetMapper(cfg, True)
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for index in range(scenes):
        scene = make_scene("train", index)
        record = mapper.map_picture(draw_scene(scene), scene_dict(scene, "", index))
        if cfg.MODEL.META_ARCHITECTURE == "RelDN":
            record["detections"] = _detections(record["instances"], generator)
        inputs.append(record)
    return inputs


def _detections(truth: Instances, generator: torch.Generator) -> Instances:
    rows = torch.arange(_DETECTIONS) % len(truth)
    boxes = Boxes(truth.gt_boxes.tensor[rows])
    sizes = torch.cat([boxes.tensor[:, 2:] - boxes.tensor[:, :2]] * 2, dim=1)
    boxes.tensor += 0.1 * sizes * torch.randn(len(rows), 4, generator=generator)
    boxes.clip(truth.image_size)
    found = Instances(
        truth.image_size,
        pred_boxes=boxes,
        pred_classes=truth.gt_classes[rows],
        scores=torch.rand(len(rows), generator=generator),
    )
    return found[boxes.nonempty()]
