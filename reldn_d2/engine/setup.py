"""Sets up a process before training, evaluation or prediction: config, logging, seed, folder, data sets."""

import argparse
import logging
import os
import runpy
import sys
from importlib import import_module
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from reldn_d2.model_zoo import find_config
from reldn_d2.utils.io import atomic_write

from .evaluate import load_config, parts_of
from .parts import Config


def setup(args: argparse.Namespace) -> Config:
    """Loads the config of a `train_net.py` run, and sets up logging, the seed and the output folder.

    Returns:
        The config. A YAML config is frozen.

    Raises:
        FileNotFoundError, ValueError: see `load_config`.
    """
    # Detectron2 copies the file into the log, and does not know the names of the model zoo.
    args = argparse.Namespace(**{**vars(args), "config_file": str(find_config(args.config_file))})
    cfg = load_config(args.config_file, args.opts)
    if isinstance(cfg, CfgNode):
        cfg.freeze()
    parts = parts_of(cfg)
    start_run(cfg, args, parts.output_dir, parts.device)
    return cfg


def start_run(cfg: Config, args: argparse.Namespace, output_dir: str, device: str) -> None:
    """Sets up logging, the seed and the output folder of a `train_net.py` run.

    Args:
        cfg: config to write to the output folder.
        args: arguments of `train_net.py`.
        output_dir: output folder in the config.
        device: device in the config.

    Raises:
        ValueError: several processes run on the CPUs of a machine with GPUs.
    """
    # Detectron2 writes the config into the output folder at every start. The one beside checkpoints says how
    # these were trained, so a resumed run and an evaluation keep it.
    folder = Path(output_dir)
    trained_with, has_checkpoint = folder / "config.yaml", (folder / "last_checkpoint").is_file()
    keep = (args.resume or args.eval_only) and has_checkpoint and trained_with.is_file()
    content = trained_with.read_bytes() if keep else b""
    default_setup(cfg, args)
    if keep and comm.is_main_process():
        with atomic_write(trained_with) as file:
            file.write(content)
        logging.getLogger(__name__).info(
            "%s is kept, since its checkpoints were trained with it", trained_with
        )
    if comm.get_world_size() > 1 and device == "cpu" and torch.cuda.is_available():
        raise ValueError(
            "several processes on a machine with GPUs talk through NCCL, which needs them: set the device to "
            "'cuda', or hide the GPUs (CUDA_VISIBLE_DEVICES=)"
        )
    setup_logger(output_dir, distributed_rank=comm.get_rank(), name="reldn_d2")


def setup_console() -> None:
    """Makes Detectron2's and this package's messages visible in tools that have no output folder."""
    for name in ("detectron2", "fvcore", "reldn_d2"):
        setup_logger(name=name)


def import_data_sets(module: str) -> None:
    """Runs a module or a .py file that registers data sets, for the option `--import` of the tools.

    Raises:
        ValueError: the module, or a module that it imports, does not exist.
        FileNotFoundError: the file does not exist.
    """
    is_file = module.endswith(".py")
    sys.path.append(str(Path(module).parent) if is_file else os.getcwd())
    try:
        if is_file:
            runpy.run_path(module)
        else:
            import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"--import {module}: {error}") from error
