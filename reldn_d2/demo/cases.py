"""The confusable cases of the test scenes: which triplets do the models choose?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reldn_d2.data.synthetic import ConfusableCase, confusable_cases
from reldn_d2.engine import load_config, load_model
from reldn_d2.engine.parts import CONFIG_FILE, FINAL_WEIGHTS
from reldn_d2.evaluation import PerImageRecall, load_predictions

from .models import BASELINE, FULL

# The clearest first.
KINDS = ("proximity", "instance")

Triplet = tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """A test scene, its confusable cases, and what the models say about them.

    Attributes:
        dataset_dict: the scene.
        cases: its cases.
        scores: model -> triplet -> score, of at least the candidates, when boxes and classes are given.
    """

    dataset_dict: dict[str, Any]
    cases: Sequence[ConfusableCase]
    scores: Mapping[str, Mapping[Triplet, float]]

    @property
    def name(self) -> str:
        """Name of its picture file, without extension."""
        return Path(self.dataset_dict["file_name"]).stem

    def of_kind(self, kind: str) -> list[ConfusableCase]:
        """Its cases of a kind."""
        return [case for case in self.cases if case.kind == kind]

    def choice(self, model: str, case: ConfusableCase) -> Triplet:
        """The candidate that a model gives the highest score; a wrong one if scores are equal."""
        return max((*case.wrong, case.relation), key=self.scores[model].__getitem__)

    def solved(self, model: str, kind: str) -> int:
        """Number of the cases of a kind that a model solves."""
        return sum(case.is_solved(self.scores[model]) for case in self.of_kind(kind))

    def gain(self, kind: str) -> int:
        """Number of the cases of a kind that all losses solve, minus those that L0 solves."""
        return self.solved(FULL, kind) - self.solved(BASELINE, kind)


def load_prdcls(folder: Path, dataset: str) -> Any:
    """The model that a training left in a folder, for given boxes and classes of a data set."""
    cfg = load_config(str(folder / CONFIG_FILE), ["MODEL.WEIGHTS", str(folder / FINAL_WEIGHTS)])
    cfg.DATASETS.TEST = (dataset,)
    model: Any = load_model(cfg)
    model.task = "prdcls"
    return model


def scene_cases(predictions: Mapping[str, Path], dataset_dicts: Sequence[dict[str, Any]]) -> list[Scene]:
    """What the models say about every confusable case, with boxes and classes given.

    The evaluation with protocol `confusion` has asked them about all candidates.

    Args:
        predictions: model -> the predictions that its evaluation on prdcls saved.
        dataset_dicts: the test scenes.

    Returns:
        A scene for each dataset dict.

    Raises:
        OSError, ValueError: see `load_predictions`.
    """
    of_models = {name: load_predictions(file).predictions for name, file in predictions.items()}
    scenes = []
    for dataset_dict in dataset_dicts:
        scores: dict[str, dict[Triplet, float]] = {}
        for name, graphs in of_models.items():
            scores[name] = {}
            answers = graphs[str(dataset_dict["image_id"])].triplet_answers
            if answers is not None:  # a scene without a case has none
                rows = zip(answers.subject, answers.object, answers.predicate, answers.score, strict=True)
                scores[name] = {(int(s), int(o), int(p)): float(score) for s, o, p, score in rows}
        scenes.append(Scene(dataset_dict, confusable_cases(dataset_dict), scores))
    return scenes


def solved_counts(scenes: Sequence[Scene], model: str, kind: str) -> PerImageRecall:
    """The numbers of cases of a kind, and under "solved" of those that a model solves, in every scene."""
    return PerImageRecall(
        tuple(scene.name for scene in scenes),
        np.array([len(scene.of_kind(kind)) for scene in scenes], dtype=np.int64),
        {"solved": np.array([scene.solved(model, kind) for scene in scenes], dtype=np.int64)},
    )


def chance(scenes: Sequence[Scene], kind: str) -> float:
    """The share of the cases of a kind that random scores solve, in percent; NaN without a case."""
    chances = [case.chance for scene in scenes for case in scene.of_kind(kind)]
    return 100 * sum(chances) / len(chances) if chances else float("nan")


def chosen_scenes(scenes: Sequence[Scene], kind: str, number: int) -> list[Scene]:
    """The scenes that are shown. `texts.RULE` is this rule in words.

    Args:
        scenes: all test scenes, in order.
        kind: kind of confusion.
        number: largest number of scenes.
    """
    with_case = [scene for scene in scenes if scene.of_kind(kind)]
    better = [scene for scene in with_case if scene.gain(kind) > 0]
    worse = [scene for scene in with_case if scene.gain(kind) < 0]
    more, fewer = (better, worse) if len(better) >= len(worse) else (worse, better)
    first = [*more[:1], *fewer[:1]]
    # The sort is stable: the other scenes stay in order.
    rest = sorted(with_case, key=lambda scene: scene.gain(kind) == 0)
    return [*first, *(scene for scene in rest if scene not in first)][:number]
