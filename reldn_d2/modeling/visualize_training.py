"""A picture of one training image: what is annotated, and what RelDN finds there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.structures import Boxes, Instances
from numpy.typing import NDArray

#: Number of relationships on the right; a training image has many more entities than a person can look at.
SHOWN = 10


def training_picture(model: Any, x: dict[str, Any], entities: Instances) -> NDArray[np.uint8]:
    """Draws the annotation of a training image, and the best relationships that RelDN finds there.

    The training goes on as without it: random numbers, modes and statistics stay as they are.

    Args:
        model: RelDN in training.
        x: an input with "image", "instances" and "relations", see `RelDN.forward`.
        entities: its training entities, see `training_entities`.

    Returns:
        (3, H, 2W) RGB. Left are the annotated relationships, right the best ones among the training entities.
        A box says its class, an arrow from subject to object its predicate, as numbers. Entities without a
        relationship are left out.
    """
    with _in_eval_mode(model):
        (found,) = model.inference([{**x, "detections": entities}], do_postprocess=False)
    best = found["relations"][:SHOWN]
    rows = [best.subject_index, best.object_index, best.pred_predicates]
    predicted = list(zip(*(column.tolist() for column in rows), strict=True))
    truth = x["instances"]
    image = convert_image_to_rgb(x["image"].permute(1, 2, 0), model.input_format)
    left = _draw(image, truth.gt_boxes, truth.gt_classes.tolist(), x["relations"].tolist())
    right = _draw(image, entities.pred_boxes, entities.pred_classes.tolist(), predicted)
    picture: NDArray[np.uint8] = np.concatenate([left, right], axis=1).transpose(2, 0, 1)
    return picture


def _draw(
    image: NDArray[np.uint8], boxes: Boxes, classes: list[int], relations: Sequence[Sequence[int]]
) -> NDArray[np.uint8]:
    """An (H, W, 3) RGB image with the entities of some relationships, and an arrow for each of these."""
    from detectron2.utils.colormap import colormap  # late: they import matplotlib
    from detectron2.utils.visualizer import Visualizer

    shown = sorted({row for subject, object, _ in relations for row in (subject, object)})
    sheet = Visualizer(image)
    # Without these colours the visualizer would draw random ones, and change the training's random numbers.
    palette = colormap(rgb=True, maximum=1)
    sheet.overlay_instances(
        boxes=boxes.tensor[shown].cpu(),
        labels=[f"class {classes[row]}" for row in shown],
        assigned_colors=[palette[i % len(palette)] for i in range(len(shown))],
    )
    centres = boxes.get_centers().tolist()
    for subject, object, predicate in relations:
        (x, y), (to_x, to_y) = centres[subject], centres[object]
        arrow = {"arrowstyle": "->", "color": "white", "linewidth": 1.5}
        sheet.output.ax.annotate("", xy=(to_x, to_y), xytext=(x, y), arrowprops=arrow)
        sheet.draw_text(str(predicate), ((x + to_x) / 2, (y + to_y) / 2), color="white")
    drawn: NDArray[np.uint8] = sheet.output.get_image()
    return drawn


@contextmanager
def _in_eval_mode(model: Any) -> Iterator[None]:
    """Sets every module to eval mode, and the task to sgdet, which takes given detections. Both come back."""
    training, task = [module for module in model.modules() if module.training], model.task
    model.eval()
    model.task = "sgdet"
    try:
        yield
    finally:
        model.task = task
        for module in training:
            module.training = True
