"""Trainings of RelDN that take a second, from either kind of config."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.engine import Trainer, setup, vocabulary_of
from reldn_d2.engine.folder_lock import release
from tests.builders.tiny_models import REPOSITORY, TINY, make_model

KINDS = ("yaml", "python")
_FILES = {
    "yaml": REPOSITORY / "configs" / "scenes" / "reldn.yaml",
    "python": REPOSITORY / "tests" / "builders" / "tiny_lazy.py",
}
# Name of a setting here -> its keys in both kinds of config.
_KEYS = {
    "output": ("OUTPUT_DIR", "train.output_dir"),
    "weights": ("MODEL.WEIGHTS", "train.init_checkpoint"),
    "device": ("MODEL.DEVICE", "train.device"),
    "seed": ("SEED", "train.seed"),
    "max_iter": ("SOLVER.MAX_ITER", "train.max_iter"),
    "eval_period": ("TEST.EVAL_PERIOD", "train.eval_period"),
    "best": ("TEST.BEST_CHECKPOINT", "train.best_checkpoint"),
    "task": ("MODEL.ROI_RELATION_HEAD.TEST.TASK", "model.task"),
}


def save_random_weights(cfg: CfgNode, folder: Path) -> str:
    """Saves a complete RelDN checkpoint. Returns its path."""
    vocabulary = vocabulary_of("reldn_scenes_tiny_train")
    RelationCheckpointer(make_model(cfg), str(folder), vocabulary=vocabulary).save("reldn")
    return str(folder / "reldn.pth")


def arguments(
    kind: str, *more: str, resume: bool = False, eval_only: bool = False, **settings: Any
) -> Namespace:
    """Arguments of `train_net.py`: three steps, evaluated in prdcls. `settings` are named as in `_KEYS`."""
    chosen = {"max_iter": 3, "task": "prdcls", **settings}
    pairs = [(_KEYS[name][KINDS.index(kind)], str(value)) for name, value in chosen.items()]
    if kind == "yaml":
        opts = [*TINY, *(word for pair in pairs for word in pair)]
    else:
        # The rate of `TINY`: with that of the scenes, weights that are not trained explode.
        opts = ["optimizer.lr=0.001", *(f"{key}={value}" for key, value in pairs)]
    return Namespace(config_file=str(_FILES[kind]), opts=[*opts, *more], resume=resume, eval_only=eval_only)


def save_run(
    output: Path, weights: str, kind: str = "yaml", *, more: Sequence[str] = (), **settings: Any
) -> None:
    """Leaves the folder of a run with the seed 7 that was killed after its first step. It takes no step."""
    trainer = Trainer(setup(arguments(kind, *more, output=output, weights=weights, seed=7, **settings)))
    trainer.resume_or_load(resume=False)
    trainer.iter = 0
    trainer.checkpointer.save("model_0000000")
    release()


def train(kind: str, *more: str, resume: bool = False, **settings: Any) -> tuple[Trainer, dict[str, Any]]:
    """Trains as `train_net.py` does. Returns the trainer, and the results of the evaluation."""
    trainer = Trainer(setup(arguments(kind, *more, resume=resume, **settings)))
    trainer.resume_or_load(resume=resume)
    return trainer, trainer.train()
