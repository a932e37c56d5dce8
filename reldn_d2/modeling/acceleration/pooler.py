"""A pooler of regions that takes all images and levels at once, and never waits for a GPU."""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes
from torch import Tensor, nn

from .precision import at_least_float32
from .roi_align import HAS_SPARSE_PRODUCT, pixels_of_region, sparse_is_faster, sparse_roi_align


class RegionPooler(ROIPooler):
    """Detectron2's ROIPooler with RoIAlign, computed in another way.

    On CPUs it multiplies sparse matrices where that is expected to be faster (`sparse_is_faster`). On GPUs
    it pools every region from every level and keeps the right level, since to find the regions of a level
    would make the GPU wait. It has no parameters, like ROIPooler.
    `accelerate` makes one of a ROIPooler by changing its class.
    """

    def forward(self, x: list[Tensor], box_lists: list[Boxes]) -> Tensor:
        """Pools the boxes of each image, as ROIPooler does.

        Args:
            x: for each level a feature map (N, C, H, W).
            box_lists: for each image its boxes, in pixels of the network input.

        Returns:
            (K, C, height, width) for the K boxes of all images.
        """
        if not box_lists:
            return x[0].new_zeros(0, x[0].shape[1], *self.output_size)
        boxes = torch.cat([found.tensor for found in box_lists])
        image = torch.cat(
            [
                torch.full((found.tensor.shape[0],), number, device=boxes.device)
                for number, found in enumerate(box_lists)
            ]
        )
        return self.pool(x, boxes, image)

    def pool(self, maps: Sequence[Tensor], boxes: Tensor, image: Tensor) -> Tensor:
        """Pools boxes of any images. On a GPU it reads no value of a tensor.

        Args:
            maps: for each level a feature map (N, C, H, W).
            boxes: (K, 4) XYXY in pixels of the network input.
            image: (K,) long, the image of each box.

        Returns:
            (K, C, height, width).
        """
        level = self.levels(boxes)
        first = self.level_poolers[0]
        on_cpu = maps[0].device.type == "cpu"
        if on_cpu and HAS_SPARSE_PRODUCT:
            samples = pixels_of_region(self.output_size, first.sampling_ratio)
            if sparse_is_faster(maps, len(boxes), samples):
                return self._sparse(maps, boxes, image, level)
        regions = torch.cat([image[:, None].to(boxes.dtype), boxes], dim=1)
        if len(self.level_poolers) == 1:
            pooled: Tensor = first(maps[0], regions)
            return pooled
        return self._of_each_level(maps, regions, level) if on_cpu else self._masked(maps, regions, level)

    def levels(self, boxes: Tensor) -> Tensor:
        """(K,) long, the level of each of (K, 4) boxes, from 0."""
        level: Tensor = assign_boxes_to_levels(
            [Boxes(boxes)], self.min_level, self.max_level, self.canonical_box_size, self.canonical_level
        )
        return level

    def _sparse(self, maps: Sequence[Tensor], boxes: Tensor, image: Tensor, level: Tensor) -> Tensor:
        first = self.level_poolers[0]
        pooled: Tensor = sparse_roi_align(
            [at_least_float32(x) for x in maps],
            boxes,
            image,
            level,
            scales=[pooler.spatial_scale for pooler in self.level_poolers],
            output_size=self.output_size,
            sampling_ratio=first.sampling_ratio,
            aligned=first.aligned,
        )
        return pooled.to(maps[0].dtype)

    def _of_each_level(self, maps: Sequence[Tensor], regions: Tensor, level: Tensor) -> Tensor:
        pooled = maps[0].new_zeros(len(regions), maps[0].shape[1], *self.output_size)
        for number, pooler in enumerate(self.level_poolers):
            rows = (level == number).nonzero()[:, 0]
            pooled.index_put_((rows,), pooler(maps[number], regions[rows]))
        return pooled

    def _masked(self, maps: Sequence[Tensor], regions: Tensor, level: Tensor) -> Tensor:
        pooled = maps[0].new_zeros(len(regions), maps[0].shape[1], *self.output_size)
        for number, pooler in enumerate(self.level_poolers):
            here = level == number
            # Regions of other levels shrink to a point, so that they read little memory.
            pooled = torch.where(
                here[:, None, None, None], pooler(maps[number], regions * here[:, None]), pooled
            )
        return pooled


def has_roi_align(pooler: Any) -> bool:
    """Whether a ROIPooler pools with RoIAlign on each level."""
    return all(type(level) is ROIAlign for level in pooler.level_poolers)


def pool_regions(pooler: nn.Module, maps: Sequence[Tensor], boxes: Tensor, image: Tensor) -> Tensor:
    """Pools boxes of any images with any pooler of Detectron2. Only a `RegionPooler` never makes a GPU wait.

    Args:
        pooler: ROIPooler or `RegionPooler`.
        maps: for each level a feature map (N, C, H, W).
        boxes: (K, 4) XYXY in pixels of the network input.
        image: (K,) long, the image of each box, in ascending order.

    Returns:
        (K, C, height, width).
    """
    if isinstance(pooler, RegionPooler):
        return pooler.pool(maps, boxes, image)
    # Other poolers take the boxes of each image separately.
    num_images = maps[0].shape[0]
    sizes = torch.bincount(image, minlength=num_images).tolist() if num_images > 1 else [len(boxes)]
    pooled: Tensor = pooler(list(maps), [Boxes(part) for part in torch.split(boxes, sizes)])
    return pooled
