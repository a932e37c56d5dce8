#!/usr/bin/env python
r"""Measures which pairs a config trains RelDN on: a table of the figures by which two samplings are compared.

    python tools/measure_sampling.py --config-file vrd/reldn_r50_fpn.yaml --dataset reldn_vrd_train \
        --weights output/vrd/detector_r50_fpn/model_final.pth
    python tools/measure_sampling.py --config-file vrd/reldn_r50_fpn.yaml --dataset reldn_vrd_train \
        --around 6 INPUT.MIN_SIZE_TRAIN "(96,)"

The steps of a training are done, but the logits are random. They decide only which unrelated pairs are the
negatives of L3: each is one of some predicate, all with equal chances. So no relation part has to be trained.
The images are the first ones of the data set that have relationships.

Without trained weights of a detector, `--around` takes boxes near the annotated ones as its proposals. Then
pixels do not matter, and small images are read faster.
"""

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from detectron2.layers import batched_nms
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from tabulate import tabulate
from torch import Tensor, nn

from reldn_cli.flags import positive
from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.data import RelationDatasetMapper, prepare_training_relations
from reldn_d2.engine import load_config, parts_of
from reldn_d2.engine.run import check_training
from reldn_d2.modeling import ContrastiveLosses, EntityBatch, Pairs, PairTargets, RelDN

# The smallest head that can be trained. Its logits are not used.
_HEAD = "MODEL.ROI_RELATION_HEAD"
_SMALL = [
    *(
        word
        for part in ("FUSED", "SUBJECT_SKIP", "OBJECT_SKIP")
        for word in (f"{_HEAD}.VISUAL.{part}", "False")
    ),
    *(f"{_HEAD}.SEMANTIC.ENABLED", "False", f"{_HEAD}.SPATIAL.ENABLED", "True", "MODEL.DEVICE", "cpu"),
]
_EVERYTHING = 10**9
# Corners of proposals near an annotated box are moved by up to this share of its sides. NMS as in an RPN.
_MOVED, _NMS = 0.3, 0.7


def main() -> None:
    """Samples the pairs of the images, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config-file", required=True, help="YAML config of stage 2")
    parser.add_argument("--dataset", required=True, help="registered data set")
    parser.add_argument("--images", type=positive, default=150, help="largest number (default: %(default)s)")
    proposals = parser.add_mutually_exclusive_group(required=True)
    proposals.add_argument("--weights", help="weights of the detector")
    proposals.add_argument("--around", type=positive, help="number of proposals near each annotated box")
    parser.add_argument("opts", nargs="*", help="keys of the config and values")
    args = parser.parse_args()
    try:
        model, images = _model_and_images(args)
        figures = measure(model, images, around=args.around)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"{len(images)} images of {args.dataset}, {args.config_file}")
    print(tabulate(figures.table(), ["figure per image", "value"], "pipe"))


def _model_and_images(args: argparse.Namespace) -> tuple[RelDN, list[dict[str, Any]]]:
    """The model on the CPU, and the first images as a training gives them to it.

    Raises:
        ValueError: `check_training` refuses the config or the data set, the weights are of another model, or
            the model is not one whose pairs can be looked at.
        OSError: a file does not exist.
    """
    if args.config_file.endswith(".py"):
        raise ValueError(f"{args.config_file} is a config in Python: give one in YAML")
    data = ["DATASETS.TRAIN", str((args.dataset,)), "DATASETS.TEST", "()"]
    data += ["DATASETS.DETECTION_FILES_TRAIN", "()"]
    cfg: Any = load_config(args.config_file, [*args.opts, *_SMALL, *data])
    _, dataset_dicts = check_training(parts_of(cfg))
    torch.manual_seed(0)
    model = build_model(cfg)
    if not (isinstance(model, RelDN) and hasattr(model.relation_head, "sample_pairs")):
        raise ValueError(f"{args.config_file} has no relation head that draws pairs: give a config of RelDN")
    if args.weights:
        RelationCheckpointer(model).load(args.weights)
    mapper = RelationDatasetMapper(cfg, is_train=True)
    chosen = prepare_training_relations(dataset_dicts, args.dataset)[: args.images]
    return model, [mapper(image) for image in chosen]


@dataclass
class Figures:
    """Sums over images.

    Attributes:
        images: number of images.
        annotated, possible: annotated pairs, and those of them that a loss may draw as positives.
        negatives, useful: negatives of the contrastive sets of both sides, and those of them whose anchor has
            a positive.
        terms: number of cells with a positive and a negative, for each contrastive term.
        positive, negative: pairs of L0.
    """

    images: int = 0
    annotated: int = 0
    possible: int = 0
    negatives: int = 0
    useful: int = 0
    terms: dict[str, int] = field(default_factory=dict)
    positive: int = 0
    negative: int = 0

    def table(self) -> list[tuple[str, str]]:
        """Rows of names and values."""
        terms = " / ".join(f"{count / self.images:.1f}" for count in self.terms.values())
        return [
            ("annotated pairs that can be positive", f"{100 * self.possible / self.annotated:.1f} %"),
            (
                "negatives of the contrastive sets whose anchor has a positive",
                f"{self.useful / max(self.negatives, 1):.2f}",
            ),
            (f"terms of {' / '.join(self.terms)}", terms),
            (
                "pairs of L0",
                f"{self.positive / self.images:.1f} positive + {self.negative / self.images:.1f} negative",
            ),
        ]


def measure(model: RelDN, inputs: Sequence[dict[str, Any]], *, around: int | None = None) -> Figures:
    """Does training steps of one image each, without their gradients.

    Args:
        model: RelDN, which is changed.
        inputs: images as `RelationDatasetMapper` gives them.
        around: number of proposals near each annotated box; None: those of the detector.
    """
    head: Any = model.relation_head
    figures, sampler, losses = Figures(), head.sample_pairs, head.contrastive_losses
    everything = copy.copy(sampler)
    for name in vars(sampler):
        if name.endswith(("_per_image", "_per_anchor")):
            setattr(everything, name, _EVERYTHING)

    def sample_pairs(entities: EntityBatch, *annotation: Any) -> tuple[Pairs, PairTargets]:
        _count_possible(figures, entities, image, *everything(entities, *annotation))
        drawn: tuple[Pairs, PairTargets] = sampler(entities, *annotation)
        return drawn

    def count_drawn(logits: Tensor, *batch: Any) -> dict[str, Tensor]:
        _count_drawn(figures, losses, torch.rand_like(logits), *batch)
        return {}

    head.sample_pairs, head.contrastive_losses = sample_pairs, count_drawn
    near = None if around is None else ProposalsNear(around)
    if near is not None:
        model.proposal_generator = near
        model.training_setup.warns = False  # the detector is not used
    model.train()
    with torch.no_grad(), EventStorage():
        for image in inputs:
            if near is not None:
                near.truth = image["instances"].gt_boxes.tensor
            figures.images += 1
            model([image])
    return figures


class ProposalsNear(nn.Module):
    """A proposal generator whose boxes are near the annotated ones.

    Attributes:
        truth: (G, 4) annotated boxes of the next image.
    """

    truth: Tensor

    def __init__(self, number: int) -> None:
        """Takes the number of boxes near each annotated one, before NMS."""
        super().__init__()
        self.number = number

    def forward(self, images: Any, features: Any, _: Any) -> tuple[list[Instances], dict[str, Tensor]]:
        """Moves the corners of the annotated boxes of one image."""
        boxes = self.truth.repeat_interleave(self.number, dim=0)
        sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        moved = Boxes(boxes + sides * _MOVED * (2 * torch.rand(boxes.shape) - 1))
        moved.clip(images.image_sizes[0])
        scores = torch.rand(len(moved))
        kept = batched_nms(moved.tensor, scores, torch.zeros_like(scores), _NMS)
        found = Instances(images.image_sizes[0], proposal_boxes=moved[kept], objectness_logits=scores[kept])
        return [found], {}


def _count_possible(
    figures: Figures, entities: EntityBatch, image: dict[str, Any], pairs: Pairs, targets: PairTargets
) -> None:
    """Counts the annotated pairs of one image, and those whose two boxes are a related pair."""
    related = targets.related
    ends = (entities.boxes[pairs.subject[related]], entities.boxes[pairs.object[related]])
    found = {tuple(row) for row in torch.cat(ends, dim=1).tolist()}
    boxes = image["instances"].gt_boxes.tensor
    annotated = image["relations"][:, :2].unique(dim=0)
    wanted = torch.cat([boxes[annotated[:, 0]], boxes[annotated[:, 1]]], dim=1).tolist()
    figures.annotated += len(wanted)
    figures.possible += sum(tuple(row) in found for row in wanted)


def _count_drawn(
    figures: Figures,
    losses: ContrastiveLosses,
    logits: Tensor,
    entities: EntityBatch,
    pairs: Pairs,
    targets: PairTargets,
) -> None:
    """Counts the pairs of one image that the losses see."""
    figures.positive += int((targets.in_cross_entropy & targets.related).sum())
    figures.negative += int((targets.in_cross_entropy & targets.unrelated).sum())
    anchors = torch.stack([pairs.subject, pairs.object])
    drawn = torch.stack([targets.subject_side, targets.object_side])
    for anchor, used in zip(anchors, drawn, strict=True):
        negative = anchor[used & targets.unrelated]
        figures.negatives += len(negative)
        figures.useful += int(torch.isin(negative, anchor[used & targets.related]).sum())
    for name, term in losses.terms.items():
        cells: dict[bool, set[tuple[int, int, int]]] = {True: set(), False: set()}
        for cell, pair, excluded in term.memberships(logits, entities, pairs, targets):
            rows = torch.arange(len(pairs)) if pair is None else pair
            number = torch.as_tensor(cell).expand(2, len(rows))
            for side in range(2):
                used = drawn[side, rows] & (targets.related | targets.unrelated)[rows]
                if excluded is not None:
                    used &= ~excluded
                places = zip(anchors[side, rows[used]].tolist(), number[side, used].tolist(), strict=True)
                for place, related in zip(places, targets.related[rows[used]].tolist(), strict=True):
                    cells[related].add((side, *place))
        figures.terms[name] = figures.terms.get(name, 0) + len(cells[True] & cells[False])


if __name__ == "__main__":
    main()
