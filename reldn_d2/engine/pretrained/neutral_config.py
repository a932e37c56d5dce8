"""The config that travels with a model: plain data, without places, data sets and device of this machine."""

import tempfile
from copy import deepcopy
from functools import reduce
from pathlib import Path

from detectron2.config import CfgNode
from omegaconf import DictConfig

from reldn_d2.config import default_config

from ..evaluate import load_config, parts_of
from ..lazy import LazyParts
from ..parts import CONFIG_FILE, Config
from ..places import YAML_PLACES, without_places
from ..saved_python import from_data, to_data

# Works everywhere. Whoever loads the model takes a GPU if there is one.
_DEVICE = "cpu"
# Errors of `load_config` end with advice for those who got the config from somebody else, which begins so. It
# is cut off, because the user who saves a model can change the config.
_ADVICE_FOR_READERS = ". If you trust it"


def neutral_config(cfg: Config) -> bytes:
    """The content of `config.yaml` in a saved folder.

    What it says about places, data sets, expected results and the device has the values of a machine that
    knows none of them. Everything else is as in the config: the model, how images are read, how it is trained
    and evaluated.

    Args:
        cfg: config of a model, of either kind. It is not changed.

    Raises:
        ValueError: a value of another key is a place on this machine or an address; or a part of the model or
            of its mapper can't be written as data. The message names the key.
    """
    neutral = _of_yaml(cfg) if isinstance(cfg, CfgNode) else _of_python(cfg)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, CONFIG_FILE)
        parts_of(neutral).save(file)
        try:
            read = parts_of(load_config(str(file), beside_weights=[str(file)]))
            if isinstance(read, LazyParts):
                for key in ("model", "dataloader.test.mapper"):
                    read.check_saved(key)
        except ValueError as error:
            reason = str(error).partition(_ADVICE_FOR_READERS)[0].replace(str(file), CONFIG_FILE)
            raise ValueError(f"the config can't travel with the model: {reason}") from error
        read.save(file)  # without anchors for lists that defaults share, so that a loaded config is the same
        return file.read_bytes()


def _of_yaml(cfg: CfgNode) -> CfgNode:
    neutral, defaults = cfg.clone(), default_config()
    neutral.defrost()
    parts = parts_of(neutral)
    settings = parts.data_sets_settings(None, None)
    for key in (*YAML_PLACES, "TEST.EXPECTED_RESULTS"):
        settings[key] = reduce(lambda node, name: node[name], key.split("."), defaults)
    for key, value in {**settings, parts.keys.device: _DEVICE}.items():
        parts.set_key(key, value)
    return neutral


def _of_python(cfg: DictConfig) -> DictConfig:
    neutral = deepcopy(cfg)
    parts = parts_of(neutral)
    settings = parts.data_sets_settings(None, "")
    settings |= {key: [] for key in parts.settings_for_other_data() if key.endswith("_detections")}
    for key, value in {**settings, parts.keys.device: _DEVICE}.items():
        parts.set_key(key, value)
    return from_data(without_places(to_data(neutral), CONFIG_FILE), CONFIG_FILE)
