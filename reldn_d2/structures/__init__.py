"""Types that several packages share, readers of dataset dicts, and box arithmetic."""

from .annotations import Annotations
from .boxes import boxes_iou, boxes_overlap, enclosing_boxes, published_scale
from .pairs import EntityBatch, Pairs, PairTargets
from .queries import Queries
from .vocabulary import Vocabulary

__all__ = [
    "Annotations",
    "EntityBatch",
    "PairTargets",
    "Pairs",
    "Queries",
    "Vocabulary",
    "boxes_iou",
    "boxes_overlap",
    "enclosing_boxes",
    "published_scale",
]
