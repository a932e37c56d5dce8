"""Sets up a process before training, evaluation or prediction: config, logging, seed, folder."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng

from .console import as_block, setup_console, setup_run_log
from .evaluate import load_config, parts_of
from .parts import CONFIG_FILE, Config, RunParts
from .seed import drawn_seed, saved_seed

logger = logging.getLogger(__name__)


def setup(args: argparse.Namespace) -> Config:
    """Loads the config of a run of `train_net.py` and sets it up, see `set_up_run`.

    Args:
        args: arguments of Detectron2's `default_argument_parser`.

    Returns:
        The config. A YAML config is frozen.

    Raises:
        FileNotFoundError, ValueError: see `load_config` and `set_up_run`.
    """
    # Detectron2's own parser has no --allow-unsafe-yaml.
    cfg = load_config(args.config_file, args.opts, unsafe_yaml=getattr(args, "allow_unsafe_yaml", ()))
    set_up_run(cfg, args.config_file, args.opts, resume=args.resume, eval_only=args.eval_only)
    return cfg


def set_up_run(
    cfg: Config, config_file: str, opts: Sequence[str], *, resume: bool = False, eval_only: bool = False
) -> None:
    """Sets up logging, the seed and the output folder of a run, and says what starts.

    A negative seed is replaced in the config: by the seed of the run that is resumed, or by a drawn one. So
    the config, the saved one and the first lines on the screen name the seed that is used.

    Args:
        cfg: config of the run. A YAML config is frozen.
        config_file: name of its file, to be shown.
        opts: its overrides, to be shown.
        resume: whether the run goes on from the last checkpoint in its folder.
        eval_only: whether the run trains nothing.

    Raises:
        ValueError: this machine lacks the device of the config, several processes run on the CPUs of a
            machine with GPUs, or a new training would overwrite an earlier one.
    """
    setup_console()
    parts = parts_of(cfg)
    parts.check_device()
    _check_processes(parts)
    if not (resume or eval_only):
        _refuse_used_folder(parts)
    origin = _settle_seed(cfg, parts, resume=resume)
    if isinstance(cfg, CfgNode):
        cfg.freeze()
    parts = parts_of(cfg)
    folder = Path(parts.output_dir)
    setup_run_log(parts.output_dir)
    logger.debug("Environment:\n%s", collect_env_info())
    logger.debug("Config:\n%s", "\n".join(f"{key}: {value}" for key, value in parts.settings().items()))
    logger.info(
        "Run\n%s",
        as_block(
            {
                "config": config_file,
                "overrides": " ".join(opts),
                "output": str(folder),
                "device": f"{parts.device}, {_processes()}",
                "seed": f"{parts.seed} ({origin})",
            }
        ),
    )
    # The config beside weights says how these were trained, so a resumed run and an evaluation keep it. A
    # folder that was copied may lack `last_checkpoint`.
    trained = (folder / "last_checkpoint").is_file() or any(folder.glob("*.pth"))
    keep = (resume or eval_only) and trained and (folder / CONFIG_FILE).is_file()
    if comm.is_main_process() and not keep:
        parts.save(folder / CONFIG_FILE)
    # Each process draws other numbers, in the way of Detectron2.
    seed_all_rng(parts.seed + comm.get_rank())
    if not eval_only:
        torch.backends.cudnn.benchmark = parts.cudnn_benchmark


def _check_processes(parts: RunParts) -> None:
    if comm.get_world_size() > 1 and parts.device == "cpu" and torch.cuda.is_available():
        raise ValueError(
            "several processes on a machine with GPUs talk through NCCL, which needs them: set the device to "
            "'cuda', or hide the GPUs (CUDA_VISIBLE_DEVICES=)"
        )


def _refuse_used_folder(parts: RunParts) -> None:
    folder = Path(parts.output_dir)
    checkpoints = sorted(folder.glob("model_*.pth"), key=lambda file: file.stat().st_mtime)
    if checkpoints:
        other = parts.override(parts.keys.output_dir, "FOLDER")
        raise ValueError(
            f"{folder} has checkpoints of an earlier training ({checkpoints[-1].name}), which a new one "
            f"would overwrite: add --resume to go on with it, choose another folder ({' '.join(other)}), or "
            "delete this one"
        )


def _settle_seed(cfg: Config, parts: RunParts, *, resume: bool) -> str:
    """Puts the seed of the run into its config, and says where it comes from."""
    if parts.seed >= 0:
        return "from the config"
    saved = saved_seed(Path(parts.output_dir, CONFIG_FILE), parts.keys.seed) if resume else None
    seed, origin = (drawn_seed(), "drawn") if saved is None else (saved, "of the resumed run")
    if isinstance(cfg, CfgNode):
        cfg.SEED = seed
    else:
        cfg.train.seed = seed
    return origin


def _processes() -> str:
    count = comm.get_world_size()
    return "1 process" if count == 1 else f"{count} processes"
