"""A built-in data set of drawn scenes, which show the two confusions that relationship detectors make.

* Entity instance confusion: a person stands behind a table with several identical cups. Only the position of
  the hand shows which cup the person holds.
* Proximal relationship ambiguity: musicians stand close to each other, and each plays one of the guitars.
  Only the arms show who plays which guitar.

Boxes and classes give no clue. The geometry is drawn first. Then the answer is drawn from a separate random
stream, uniformly over all assignments.
"""

from .dataset import (
    BUILTIN_DATASETS,
    ConfusableCase,
    confusable_cases,
    load_scenes,
    register_scenes,
    scene_dict,
    scene_folder,
)
from .drawing import draw_scene
from .scene import Scene, make_scene
from .vocabulary import GENERATOR_VERSION, IMAGE_SIZE, PREDICATE_CLASSES, THING_CLASSES, Category, Predicate

__all__ = [
    "BUILTIN_DATASETS",
    "GENERATOR_VERSION",
    "IMAGE_SIZE",
    "PREDICATE_CLASSES",
    "THING_CLASSES",
    "Category",
    "ConfusableCase",
    "Predicate",
    "Scene",
    "confusable_cases",
    "draw_scene",
    "load_scenes",
    "make_scene",
    "register_scenes",
    "scene_dict",
    "scene_folder",
]
