"""RelDN (Graphical Contrastive Losses for Scene Graph Parsing, CVPR 2019) as a Detectron2 project.

Importing it registers the meta-architecture, the relation head, the backbones and the built-in data sets.
"""

from . import data, modeling
from .config import add_reldn_config

__all__ = ["add_reldn_config", "data", "modeling"]
