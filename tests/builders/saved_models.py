"""Small models of RelDN, saved by `save_pretrained`."""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reldn_d2.engine import RelationPredictor, load_config, parts_of
from tests.builders.small_backbone import build_small_backbone
from tests.builders.tiny_models import REPOSITORY, TINY
from tests.builders.tiny_runs import arguments, save_random_weights

SMALL = ("MODEL.BACKBONE.NAME", build_small_backbone.__name__)
SUMS = "SHA256SUMS"


def small_predictor(folder: Path, *opts: str) -> RelationPredictor:
    """A predictor of a network of four layers with random weights, which lie in the folder."""
    cfg = load_config(
        str(REPOSITORY / "configs" / "scenes" / "reldn.yaml"),
        [*TINY, *SMALL, "MODEL.WEIGHTS", "", "OUTPUT_DIR", str(folder / "run"), *opts],
    )
    cfg.MODEL.WEIGHTS = save_random_weights(cfg, folder)
    return RelationPredictor(cfg)


def predictor_of(kind: str, folder: Path) -> RelationPredictor:
    """A predictor with random weights from a config of one kind; that in Python has a ResNet."""
    if kind == "yaml":
        return small_predictor(folder)
    given = arguments("yaml")
    start = load_config(given.config_file, [*given.opts, "MODEL.WEIGHTS", ""])
    weights = save_random_weights(start, folder)
    given = arguments("python", output=folder / "run", weights=weights)
    return RelationPredictor(load_config(given.config_file, given.opts))


def photo(seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Noise, (96, 128, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (96, 128, 3), dtype=np.uint8)


def numbers(prediction: Any) -> dict[str, torch.Tensor]:
    """Every tensor of a prediction."""
    found = {}
    for part in ("instances", "relations"):
        for name, value in prediction[part].get_fields().items():
            found[f"{part}.{name}"] = getattr(value, "tensor", value)
    return found


def settings(predictor: RelationPredictor) -> dict[str, str]:
    """The keys of the predictor's config."""
    return parts_of(predictor.parts.cfg).settings()


def list_again(folder: Path) -> str:
    """Writes the digests of a saved folder anew, as somebody does who has changed a file. Returns theirs."""
    files = sorted(file for file in folder.iterdir() if file.name != SUMS)
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / SUMS).write_text("".join(lines))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextmanager
def no_network() -> Iterator[None]:
    """Inside, every use of a socket fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto", "bind"):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


def content(folder: Path) -> dict[str, bytes]:
    """The files of a folder, with what they contain."""
    names = (os.path.relpath(file, folder) for file in folder.rglob("*") if file.is_file())
    return {name: (folder / name).read_bytes() for name in sorted(names)}
