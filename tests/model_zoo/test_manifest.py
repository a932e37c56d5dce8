"""The list of models: every entry is complete, its files are there, and the pages show it."""

import hashlib
import re

import pytest

from reldn_d2.ablation.tables import read_table
from reldn_d2.engine import load_config, vocabulary_of
from reldn_d2.evaluation import PROTOCOLS
from reldn_d2.model_zoo import get_config_file, zoo_entry, zoo_names
