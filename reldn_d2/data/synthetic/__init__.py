"""A built-in data set of drawn scenes, which show the two confusions that relationship detectors make.

* Entity instance confusion: a person behind a table with several identical cups; the only clue to the one
  that is held is where the hand is.
* Proximal relationship ambiguity: musicians close to each other, each playing one of the guitars; the only
  clue to who plays which is whose arm ends at it.

Boxes and classes give no clue to either: the geometry is drawn first, and then the answer, from a random
stream of its own and uniformly over all assignments.
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
