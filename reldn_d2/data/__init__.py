"""Data sets, the mapper, and what training counts. Importing it registers the built-in data sets."""

from .builtin import register_all
from .dataset_mapper import RelationDatasetMapper
from .datasets.coco_relations import load_coco_relations, register_coco_relations
from .datasets.coco_relations_writer import save_coco_relations
from .datasets.vrd import load_vrd, register_vrd
from .datasets.vrd_annotations import parse_vrd_annotations
from .detections import load_detections_into_dataset, save_detections
from .filters import prepare_training_relations
from .statistics import predicate_counts

register_all()

__all__ = [
    "RelationDatasetMapper",
    "load_coco_relations",
    "load_detections_into_dataset",
    "load_vrd",
    "parse_vrd_annotations",
    "predicate_counts",
    "prepare_training_relations",
    "register_all",
    "register_coco_relations",
    "register_vrd",
    "save_coco_relations",
    "save_detections",
]
