"""`--recipe small`: a detector and RelDN on it for own data, on a CPU or a GPU, in one call."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from reldn_d2.data import RegisteredData
from reldn_d2.engine import (
    Trainer,
    evaluate,
    load_config_for_data,
    parts_of,
    set_up_run,
    setup_console,
)
from reldn_d2.engine.config_files import read_config_file
from reldn_d2.engine.console import as_block
from reldn_d2.engine.parts import CONFIG_FILE, FINAL_WEIGHTS
from reldn_d2.engine.rate import Rate
from reldn_d2.engine.summary import INFERENCE, first_numbers
from reldn_d2.model_zoo import get_config_file
from reldn_d2.utils.inner_paths import refuse_outside_links

from .drawings import draw_predictions
from .fit import fitted_length, fitted_sizes, fitted_test_batch, num_with_entities, num_with_relations
from .start import Start, choose_start

logger = logging.getLogger(__name__)

#: The stages of the recipe, in their order.
STAGES = ("detector", "relations", "evaluate", "draw")

_DETECTOR, _DRAWINGS = "detector", "drawings"
_TASK = "MODEL.ROI_RELATION_HEAD.TEST.TASK"
# Passes over the training images of stage 2: on a detector trained from random weights, and on others.
_EPOCHS_SCRATCH, _EPOCHS = 1, 5


@dataclass(frozen=True)
class SmallResult:
    """What the recipe leaves.

    Attributes:
        folder: the output folder, which prediction and evaluation take as weights.
        start: what the detector starts from, in words; empty if this call did not have to know.
        results: "bbox" and "task/protocol" -> metric -> number, of the stages that ran in this call.
        drawings: files of the drawings that this call made.
    """

    folder: Path
    start: str
    results: Mapping[str, Mapping[str, float]]
    drawings: Sequence[Path]


def train_small(
    data: RegisteredData,
    *,
    output: Path,
    weights: str | None = None,
    stages: Sequence[str] = STAGES,
    resume: bool = False,
    device: str | None = None,
    opts: Sequence[str] = (),
) -> SmallResult:
    """Trains a detector and RelDN on own data, evaluates, and draws ten test images.

    The output folder is that of RelDN's training. It also holds `detector` (the training of stage 1) and
    `drawings`. Each stage can be run alone; it finds the results of earlier ones in the output folder.

    Args:
        data: registered data file with a split "train". Without "test" or "val" nothing is evaluated or
            drawn.
        output: output folder.
        weights: what the detector starts from, see `choose_start`. A detector of exactly these entity classes
            is taken as it is; another one is fine-tuned.
        stages: some of `STAGES`.
        resume: go on with trainings that were interrupted, or that `opts` make longer.
        device: "cpu" or "cuda"; None: CUDA if there is a GPU.
        opts: overrides KEY VALUE for both trainings and for evaluation. They don't change the lengths that
            follow from the data, unless they set these themselves.

    Raises:
        FileNotFoundError: a checkpoint or a picture does not exist.
        ValueError: a stage is unknown or lacks the result of an earlier one, the data have no training split,
            or see `choose_start`, `load_config_for_data`, `set_up_run` and `Trainer`.
    """
    _check(data, stages)
    setup_console()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    run = _Run(data, output, resume, device, tuple(opts))
    start = choose_start(weights, data, output) if "detector" in stages or weights else None
    # The folder of a resumed run may come from anybody. Its trainings look at their own files.
    refuse_outside_links(output, [_DRAWINGS], "delete it, or choose another folder (--output FOLDER)")
    if start is not None:
        logger.info("Recipe small starts from %s", start.description)
    results: dict[str, Mapping[str, float]] = {}
    drawings: list[Path] = []
    if "detector" in stages and start is not None and not start.is_detector:
        results |= _train_detector(run, start)
    if "relations" in stages:
        results |= _train_relations(run, start)
    if data.test is None:
        logger.info("%s has no split test or val: nothing is evaluated or drawn", data.path)
    else:
        if "evaluate" in stages:
            for task in ("sgdet", "prdcls"):
                # The training of this call has evaluated with the task of its config already.
                if not any(group.startswith(f"{task}/") for group in results):
                    results |= _evaluate(run, task)
        if "draw" in stages:
            drawings = draw_predictions(run.load_trained(), data.test, output / _DRAWINGS)
    where = {
        "model": f"{output}, for --weights",
        "all numbers": str(output / INFERENCE) if data.test else "",
        "drawings": str(output / _DRAWINGS) if drawings else "",
    }
    blocks = filter(None, [as_block(first_numbers(results)), as_block(where)])
    logger.info("Recipe small finished\n%s", "\n\n".join(blocks))
    return SmallResult(output, start.description if start else "", results, drawings)


@dataclass(frozen=True)
class _Run:
    """What all stages of a run of the recipe share; see `train_small`."""

    data: RegisteredData
    output: Path
    resume: bool
    device: str
    opts: tuple[str, ...]

    def load(self, configs: Sequence[str], *words: str) -> CfgNode:
        """The config of several files, of which later ones change earlier ones.

        Args:
            configs: the files.
            words: overrides KEY VALUE.
        """
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "recipe.yaml")
            file.write_text(yaml.safe_dump({"_BASE_": [str(Path(x).resolve()) for x in configs]}))
            # Configs of runs are from folders that may come from anybody. Weights and folders are given anew.
            saved = [config for config in configs if Path(config).name == CONFIG_FILE]
            cfg: CfgNode = load_config_for_data(str(file), [*words], self.data, beside_weights=saved)
        return cfg

    def load_for(
        self, configs: Sequence[str], output: Path, weights: str, settings: Mapping[str, Any]
    ) -> CfgNode:
        """The config of a training or an evaluation, with settings and the overrides of the user."""
        words = [word for key, value in settings.items() for word in (key, str(value))]
        workers = "0" if self.device == "cpu" else "4"
        return self.load(
            configs,
            *("MODEL.DEVICE", self.device, "DATALOADER.NUM_WORKERS", workers),
            *words,
            *self.opts,
            *("MODEL.WEIGHTS", weights, "OUTPUT_DIR", str(output)),
        )

    def load_trained(self, **settings: Any) -> CfgNode:
        """The config of the trained RelDN, with its weights."""
        for name in (CONFIG_FILE, FINAL_WEIGHTS):
            if not (self.output / name).is_file():
                raise ValueError(f"{self.output} has no {name}: run the stage 'relations' to its end first")
        config, weights = str(self.output / CONFIG_FILE), str(self.output / FINAL_WEIGHTS)
        return self.load_for([config], self.output, weights, settings)

    def train(
        self, configs: Sequence[str], output: Path, weights: str, settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Trains and evaluates. Returns the results."""
        cfg = self.load_for(configs, output, weights, settings)
        rate = Rate.of(parts_of(self.load(configs)))
        set_up_run(cfg, " + ".join(configs), self.opts, rate=rate, resume=self.resume)
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=self.resume)
        return trainer.train()


def _check(data: RegisteredData, stages: Sequence[str]) -> None:
    for stage in stages:
        if stage not in STAGES:
            near = get_close_matches(stage, STAGES, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"recipe small has no stage {stage!r}: {hint}The stages are {', '.join(STAGES)}")
    if data.train is None:
        raise ValueError(f"{data.path} has no split 'train', which the recipe trains on: name one")


def _train_detector(run: _Run, start: Start) -> dict[str, Any]:
    cfg, images = run.load(start.configs), _training_images(run)
    settings = {
        **(fitted_sizes(cfg, images) if start.adapts_sizes else {}),
        **fitted_length(cfg, num_with_entities(images), start.epochs),
        **_test_batch(run),
    }
    return run.train(start.configs, run.output / _DETECTOR, start.weights, settings)


def _train_relations(run: _Run, start: Start | None) -> dict[str, Any]:
    folder = run.output / _DETECTOR
    config, detector = str(folder / CONFIG_FILE), str(folder / FINAL_WEIGHTS)
    if start is not None and start.is_detector:
        config, detector = start.configs[0], start.weights
    elif not Path(detector).is_file():
        raise ValueError(
            f"{folder} has no {FINAL_WEIGHTS}: run the stage 'detector' to its end first, or give a detector "
            "of these classes as --weights"
        )
    from_scratch = not read_config_file(config, beside_weights=[config]).get("MODEL", {}).get("WEIGHTS")
    part = "base/small_reldn_scratch.yaml" if from_scratch else "base/small_reldn.yaml"
    configs = (config, get_config_file(part))
    cfg, images = run.load(configs), _training_images(run)
    epochs = _EPOCHS_SCRATCH if from_scratch else _EPOCHS
    settings = {**fitted_length(cfg, num_with_relations(images), epochs), **_test_batch(run)}
    return run.train(configs, run.output, detector, settings)


def _evaluate(run: _Run, task: str) -> dict[str, Any]:
    cfg = run.load_trained(**{_TASK: task})
    set_up_run(cfg, str(run.output / CONFIG_FILE), run.opts, eval_only=True)
    return evaluate(cfg)


def _training_images(run: _Run) -> list[dict[str, Any]]:
    images: list[dict[str, Any]] = DatasetCatalog.get(run.data.train)
    return images


def _test_batch(run: _Run) -> dict[str, Any]:
    return {} if run.data.test is None else fitted_test_batch(DatasetCatalog.get(run.data.test))
