"""Configs for own data: what a config says about data comes from the data file (`--data party.yaml`)."""

from collections.abc import Collection

from reldn_d2.data import RegisteredData

from .evaluate import load_config, parts_of
from .parts import Config


def load_config_for_data(
    config_file: str, opts: list[str] | None, data: RegisteredData, *, beside_weights: Collection[str] = ()
) -> Config:
    """Loads a config of either kind for the data sets of a data file. It is not frozen.

    Args:
        config_file, opts, beside_weights: see `load_config`.
        data: the registered data file.

    Raises:
        FileNotFoundError: see `load_config`.
        ValueError: see `load_config` and `fit_to_data`.
    """
    cfg = load_config(config_file, opts, beside_weights=beside_weights)
    fit_to_data(cfg, opts or [], data)
    return cfg


def fit_to_data(cfg: Config, opts: list[str], data: RegisteredData) -> None:
    """Changes a config of either kind for the data sets of a data file.

    Training and test set and the numbers of classes come from the data. If the config was written for other
    data sets, so do the settings that only fit those: precomputed detections, expected results, and the
    protocols, which become the usual ones. Overrides win.

    Args:
        cfg: the config, with its overrides, not frozen.
        opts: the overrides, see `load_config`.
        data: the registered data file. It evaluates on the split `test`, else on `val`.

    Raises:
        ValueError: an override gives another number of classes than the data have, or a config in Python has
            no data set to evaluate on.
    """
    parts = parts_of(cfg)
    given = parts.overridden_keys(opts)
    settings = parts.data_sets_settings(data.train, data.test)
    if not set(parts.all_datasets()) <= set(data.names.values()):
        settings |= parts.settings_for_other_data()
    for kind, (key, _) in parts.class_counts().items():
        settings[key] = len(getattr(data, kind))
    for key, value in settings.items():
        if key not in given:
            parts.set_key(key, value)
    for kind, (key, number) in parts.class_counts().items():
        in_data = len(getattr(data, kind))
        if number != in_data:
            raise ValueError(
                f"the override sets {key} to {number}, but {data.path} has {in_data} "
                f"{kind.replace('_', ' ')}: leave the override out"
            )
