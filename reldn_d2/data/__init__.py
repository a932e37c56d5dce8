"""Data sets, their statistics, and the mapper. Importing this package registers the built-in data sets."""

from reldn_d2.structures.annotations import Annotations

from .builtin import register_all
from .checking.checks import check_dataset, check_pictures
from .data_file import RegisteredData, read_data_file, register_data_file
from .datasets.authors_json import load_authors_json, register_authors_json
from .datasets.coco_relations import load_coco_relations, register_coco_relations, save_coco_relations
from .datasets.label_studio import load_label_studio, register_label_studio
from .datasets.openimages.vrd import load_openimages_vrd, register_openimages_vrd
from .datasets.visual_genome.raw import load_visual_genome_raw, register_visual_genome_raw
from .datasets.visual_genome.vg150 import load_vg150, register_vg150
from .datasets.vrd import load_vrd, parse_vrd_annotations, register_vrd
from .detections import (
    detections_made_by,
    detector_weights_of,
    load_detections_into_dataset,
    save_detections,
)
from .filters import (
    images_with_entities,
    images_with_relations,
    one_relation_per_pair,
    overlapping_relations,
    prepare_training_relations,
)
from .image_tars import file_names_in_tars
from .loaders import QueryingLoader, build_relation_test_loader, with_queries
from .mapper import RelationDatasetMapper
from .registration import register_relation_dataset
from .statistics import predicate_counts, predicate_repeat_factors, zero_shot_triplets
from .training_loader import ResumableTrainLoader, build_resumable_train_loader
from .without_pictures import read_image_sizes, without_pictures

register_all()

# Python configs that earlier releases saved use this name for `predicate_counts`.
cached_predicate_counts = predicate_counts

__all__ = [
    "Annotations",
    "QueryingLoader",
    "RegisteredData",
    "RelationDatasetMapper",
    "ResumableTrainLoader",
    "build_relation_test_loader",
    "build_resumable_train_loader",
    "check_dataset",
    "check_pictures",
    "detections_made_by",
    "detector_weights_of",
    "file_names_in_tars",
    "images_with_entities",
    "images_with_relations",
    "load_authors_json",
    "load_coco_relations",
    "load_detections_into_dataset",
    "load_label_studio",
    "load_openimages_vrd",
    "load_vg150",
    "load_visual_genome_raw",
    "load_vrd",
    "one_relation_per_pair",
    "overlapping_relations",
    "parse_vrd_annotations",
    "predicate_counts",
    "predicate_repeat_factors",
    "prepare_training_relations",
    "read_data_file",
    "read_image_sizes",
    "register_all",
    "register_authors_json",
    "register_coco_relations",
    "register_data_file",
    "register_label_studio",
    "register_openimages_vrd",
    "register_relation_dataset",
    "register_vg150",
    "register_visual_genome_raw",
    "register_vrd",
    "save_coco_relations",
    "save_detections",
    "with_queries",
    "without_pictures",
    "zero_shot_triplets",
]
