"""Sets up a process before training, evaluation or prediction: config, logging, seed, folder."""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng

from .console import LOG_FILE, as_block, setup_console, setup_run_log
from .evaluate import load_config, override_config, parts_of
from .folder_lock import Kind, hold, release
from .parts import CONFIG_FILE, Config, RunParts
from .rate import Rate
from .run_identity import SAME_CONFIG, shared_settings
from .same_everywhere import check_same_everywhere, versions
from .seed import drawn_seed, saved_seed
from .summary import SUMMARY_FILE

logger = logging.getLogger(__name__)

# Files of every run; a training that was killed early leaves them without a checkpoint.
_TRACES = (LOG_FILE, CONFIG_FILE, "metrics.json", SUMMARY_FILE)


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
    cfg = load_config(args.config_file, unsafe_yaml=getattr(args, "allow_unsafe_yaml", ()))
    rate = Rate.of(parts_of(cfg))
    override_config(cfg, args.opts, args.config_file)
    set_up_run(cfg, args.config_file, args.opts, rate=rate, resume=args.resume, eval_only=args.eval_only)
    return cfg


def set_up_run(
    cfg: Config,
    config_file: str,
    opts: Sequence[str],
    *,
    rate: Rate | None = None,
    resume: bool = False,
    eval_only: bool = False,
) -> None:
    """Sets up logging, the seed and the output folder of a run, and says what starts.

    The output folder is locked until the run ends, see `folder_lock`.

    A negative seed is replaced in the config: by the seed of the run that is resumed, or by a drawn one. So
    the config, the saved one and the first lines on the screen name the seed that is used.

    Args:
        cfg: config of the run. A YAML config is frozen.
        config_file: name of its file, to be shown.
        opts: its overrides, to be shown.
        rate: learning rate of the file without the overrides. If they move it far, a line says so.
        resume: whether the run goes on from the last checkpoint in its folder.
        eval_only: whether the run trains nothing.

    Raises:
        ValueError: see `set_up_process`; or another process uses the output folder, or a new training would
            overwrite an earlier one; or the processes of the run have different settings or packages.
        OSError: the output folder can't be written.
    """
    setup_console()
    parts = parts_of(cfg)
    set_up_process(parts)
    # First of all: processes with different settings would wait for each other in different places.
    kind: Kind = "evaluation" if eval_only else "training"
    started = {"the run": kind, "--resume": str(resume), **versions()}
    check_same_everywhere(
        {**started, **shared_settings(parts.settings(), python=parts.is_python)}, SAME_CONFIG
    )
    hold(parts, kind)
    try:
        _start(cfg, config_file, opts, resume=resume, eval_only=eval_only)
    except BaseException:
        release(kind)
        raise
    moved = rate.describe_move(parts, config_file) if rate is not None and not eval_only else ""
    if moved:
        logger.warning("%s", moved)


def _start(cfg: Config, config_file: str, opts: Sequence[str], *, resume: bool, eval_only: bool) -> None:
    parts = parts_of(cfg)
    if not (resume or eval_only):
        _refuse_used_folder(parts)
    if not eval_only:
        _say_what_lies_there(parts)
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
    # The config beside weights says how these were trained, so an evaluation and a resumed run leave it. (If
    # it is missing, the trainer writes it after it has compared the runs.) A folder that was copied may lack
    # `last_checkpoint`.
    trained = (folder / "last_checkpoint").is_file() or any(folder.glob("*.pth"))
    if comm.is_main_process() and not ((resume or eval_only) and trained):
        parts.save(folder / CONFIG_FILE)
    # Each process draws other numbers, in the way of Detectron2.
    seed_all_rng(parts.seed + comm.get_rank())
    if not eval_only:
        torch.backends.cudnn.benchmark = parts.cudnn_benchmark


def check_num_gpus(number: int, option: str = "--num-gpus") -> None:
    """Checks that this machine has a GPU for each of several processes, or none, for processes on the CPU.

    Args:
        number: number of processes on this machine.
        option: what says this number, for the message.

    Raises:
        ValueError: it has some GPUs, but not as many.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number > found > 0:
        raise ValueError(f"{option} is {number}, but PyTorch finds only {found} here: give {found} at most")


def set_up_process(parts: RunParts) -> None:
    """Checks the device of this process, and gives it its share of the CPU's threads.

    PyTorch takes a thread for each core. Several processes would then get in each other's way. A number in
    OMP_NUM_THREADS is of each process, as everywhere, and stays.

    Args:
        parts: the parts of its config.

    Raises:
        ValueError: this machine lacks the device, or several processes run on the CPUs of a machine with
            GPUs.
    """
    parts.check_device()
    if comm.get_world_size() > 1 and parts.device == "cpu" and torch.cuda.is_available():
        raise ValueError(
            "several processes on a machine with GPUs talk through NCCL, which needs them: set the device to "
            "'cuda', or hide the GPUs (CUDA_VISIBLE_DEVICES=)"
        )
    if "OMP_NUM_THREADS" not in os.environ and comm.get_local_size() > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // comm.get_local_size()))


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


def _say_what_lies_there(parts: RunParts) -> None:
    """Names the files of an earlier run that left no checkpoint: this run continues or replaces them."""
    folder = Path(parts.output_dir)
    found = [name for name in _TRACES if (folder / name).is_file()]
    if found and comm.is_main_process() and not any(folder.glob("*.pth")):
        logger.warning(
            "%s has no checkpoint, but %s of an earlier run: this run adds to the logs and replaces the rest",
            folder, ", ".join(found),
        )  # fmt: skip


def _settle_seed(cfg: Config, parts: RunParts, *, resume: bool) -> str:
    """Puts the seed of the run into its config, and says where it comes from."""
    if parts.seed >= 0:
        return "from the config"
    found = saved_seed(Path(parts.output_dir, CONFIG_FILE), parts.keys.seed) if resume else None
    saved = comm.all_gather(found)[0]  # another machine may not see the file
    seed, origin = (drawn_seed(), "drawn") if saved is None else (saved, "of the resumed run")
    if isinstance(cfg, CfgNode):
        cfg.SEED = seed
    else:
        cfg.train.seed = seed
    return origin


def _processes() -> str:
    count = comm.get_world_size()
    return "1 process" if count == 1 else f"{count} processes"
