"""Pictures of the demo: what the models choose in confusable cases, whole scene graphs, feature maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.data.images import read_image
from reldn_d2.data.synthetic import PREDICATE_CLASSES, THING_CLASSES
from reldn_d2.scene_graphs.graph import RelationshipRecord
from reldn_d2.utils.io import atomic_write
from reldn_d2.visualization import (
    draw_scene_graph,
    feature_map_overlay,
    ground_truth_to_dict,
    scene_graph_svg,
    scene_graph_to_dict,
    side_by_side,
)
from reldn_d2.visualization.images import Image, encode_image
from reldn_d2.visualization.svg import Svg

from .cases import KINDS, Scene, chosen_scenes
from .models import BASELINE, FULL

GROUND_TRUTH = "ground truth"
# What a picture shows of a kind of confusion.
QUESTIONS = {"proximity": "Who plays which guitar?", "instance": "Who holds which cup?"}
# Pictures are shown a third as wide as a page.
_TEXT_SCALE = 1.6
# Width of the picture of several scenes, in pixels.
_SCENES_WIDTH = 1500


def case_pictures(scene: Scene, kind: str) -> list[tuple[Image, str]]:
    """A scene with the annotated relationships of its cases, and with the triplet that each model chooses.

    Args:
        scene: a scene with cases of the kind.
        kind: kind of confusion.

    Returns:
        (picture, title): ground truth, L0 and all losses.
    """
    image = read_image(scene.dataset_dict["file_name"], "RGB")
    truth = ground_truth_to_dict(scene.dataset_dict, THING_CLASSES, PREDICATE_CLASSES)
    cases = scene.of_kind(kind)
    # All candidates are shown, also those that nobody chooses.
    shown = sorted({end for case in cases for triplet in (case.relation, *case.wrong) for end in triplet[:2]})

    def drawn(triplets: Sequence[tuple[int, int, int]], correct: Sequence[bool] | None) -> Image:
        relationships: list[RelationshipRecord] = [
            {"subject": s, "object": o, "predicate": PREDICATE_CLASSES[p], "score": None}
            for s, o, p in triplets
        ]
        graph = truth.copy()
        graph["relationships"] = relationships
        return draw_scene_graph(image, graph, correct=correct, also=shown, text_scale=_TEXT_SCALE)

    pictures = [(drawn([case.relation for case in cases], None), GROUND_TRUTH)]
    for model in (BASELINE, FULL):
        choices = [scene.choice(model, case) for case in cases]
        right = [choice == case.relation for choice, case in zip(choices, cases, strict=True)]
        pictures.append((drawn(choices, right), f"{model}: {sum(right)} of {len(cases)} right"))
    return pictures


def write_scenes(scenes: Sequence[Scene], path: Path) -> None:
    """Writes one picture with the first chosen scene of each kind of confusion, as JPEG.

    Args:
        scenes: all test scenes. Without any case, nothing is written.
        path: file to write.
    """
    rows = []
    for kind in KINDS:
        for scene in chosen_scenes(scenes, kind, 1):
            pictures = case_pictures(scene, kind)
            rows.append(side_by_side([picture for picture, _ in pictures], [title for _, title in pictures]))
    if not rows:
        return
    picture = np.concatenate(rows)
    size = (_SCENES_WIDTH, round(_SCENES_WIDTH * picture.shape[0] / picture.shape[1]))
    smaller = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    with atomic_write(path) as file:
        file.write(encode_image(smaller, "jpeg"))


@torch.no_grad()
def graph_pictures(models: Mapping[str, Any], scene: Scene) -> list[tuple[Svg, str]]:
    """The whole scene graph as node-link drawing: ground truth, and the best predictions of each model."""
    vocabulary = (THING_CLASSES, PREDICATE_CLASSES)
    truth = ground_truth_to_dict(scene.dataset_dict, *vocabulary)
    annotated = {(r["subject"], r["object"], r["predicate"]) for r in truth["relationships"]}
    pictures = [(scene_graph_svg(truth), GROUND_TRUTH)]
    inputs = _inputs(scene)
    for name, model in models.items():
        found = scene_graph_to_dict(model([inputs])[0], *vocabulary, top_k=max(len(annotated), 1))
        right = [(r["subject"], r["object"], r["predicate"]) in annotated for r in found["relationships"]]
        title = f"{name}: {sum(right)} of {len(annotated)} right"
        pictures.append((scene_graph_svg(found, correct=right, scores=False), title))
    return pictures


@torch.no_grad()
def map_pictures(models: Mapping[str, Any], scene: Scene) -> list[tuple[Image, str]]:
    """The finest feature map of the detector, which all models share, and of each predicate backbone."""
    image = read_image(scene.dataset_dict["file_name"], "RGB")
    first = next(iter(models.values()))
    backbones = {"detector": first.backbone}
    backbones |= {f"predicate backbone, {name}": model.relation_backbone for name, model in models.items()}
    batch = first.preprocess_image([_inputs(scene)]).tensor
    # A backbone returns its maps from the finest to the coarsest.
    return [
        (feature_map_overlay(next(iter(backbone(batch).values()))[0], image), title)
        for title, backbone in backbones.items()
    ]


def _inputs(scene: Scene) -> dict[str, Any]:
    mapper = RelationDatasetMapper(is_train=False, augmentations=[], image_format="BGR")
    inputs: dict[str, Any] = mapper(scene.dataset_dict)
    return inputs
