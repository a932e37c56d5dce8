"""A built-in data set of drawn scenes with both confusions that relationship detectors fall for.

* Entity instance confusion: a person behind a table with several identical cups; the only clue to the one
  that is held is where the hand is.
* Proximal relationship ambiguity: musicians close to each other, each playing one of the guitars; the only
  clue to who plays which is whose arm ends at it.

Boxes and classes tell nothing about either: geometry is drawn first, the answer afterwards from a random
stream of its own, uniformly over all assignments.
"""

from .confusion import ConfusableCase, confusable_cases
from .dataset import (
    BUILTIN_DATASETS,
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
