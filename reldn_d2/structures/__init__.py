"""Types that cross the borders between rooms, and the box arithmetic they share."""

from .boxes import boxes_overlap, enclosing_boxes
from .pairs import EntityBatch, Pairs, PairTargets

__all__ = ["EntityBatch", "PairTargets", "Pairs", "boxes_overlap", "enclosing_boxes"]
