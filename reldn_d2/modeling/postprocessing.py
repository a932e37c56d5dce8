"""Rescales results from pixels of the network input to the original image."""

from typing import Any

import torch
from detectron2.structures import Boxes, Instances, ROIMasks

# As in `detector_postprocess`.
_MASK_THRESHOLD = 0.5


def relation_postprocess(result: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """Rescales the result of one image to the size of the original image.

    Unlike `detector_postprocess` it drops no box, because relationships refer to rows.

    Args:
        result: Instances with boxes in pixels of the network input. Other values, such as the "task", stay
            as they are.
        height, width: size of the original image.
    """
    scaled = dict(result)
    for name, found in result.items():
        if not isinstance(found, Instances):
            continue
        old_height, old_width = found.image_size
        fields = dict(found.get_fields())
        if "pred_boxes" in fields:
            boxes = Boxes(fields["pred_boxes"].tensor.clone())
            boxes.scale(width / old_width, height / old_height)
            boxes = _clipped(boxes, height, width)
            fields["pred_boxes"] = boxes
            if "pred_masks" in fields:  # (E, 1, M, M) inside the boxes -> (E, height, width) bool
                masks = ROIMasks(fields["pred_masks"][:, 0])
                fields["pred_masks"] = masks.to_bitmasks(boxes, height, width, _MASK_THRESHOLD).tensor
        scaled[name] = Instances((height, width), **fields)
    return scaled


def _clipped(boxes: Boxes, height: int, width: int) -> Boxes:
    """The boxes inside the image. `Boxes.clip` also reads whether they are finite, for each image."""
    x0, y0, x1, y1 = boxes.tensor.unbind(dim=1)
    left, right = (x.clamp(min=0, max=width) for x in (x0, x1))
    top, bottom = (y.clamp(min=0, max=height) for y in (y0, y1))
    return Boxes(torch.stack([left, top, right, bottom], dim=1))
