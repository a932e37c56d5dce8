"""Predictors that need no weights, for tests of `reldn predict`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from PIL import Image

from reldn_d2.data.images import read_image
from reldn_d2.engine import Outcome, Prediction, Request, parts_of
from reldn_d2.structures import Vocabulary
from tests.builders.commands import run_reldn


class FakePredictor:
    """Finds a person on the left and a dog on the right; given boxes get the class of a dog.

    An image of 13 rows is an error, and one of 17 rows is where the user presses Ctrl-C.

    Attributes:
        configs: the configs that predictors were made with.
        seen: names of the images that were predicted.
        weight: the only weight of the model.
    """

    thing_classes: tuple[str, ...] = ("person", "dog")
    predicate_classes: tuple[str, ...] = ("next to", "feeds")
    configs: list[Any]
    seen: list[str]
    weight = 0.0

    def __init__(self, cfg: Any) -> None:
        self.configs.append(cfg)
        self.parts = parts_of(cfg)
        self.model = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.model.weight, self.weight)
        torch.nn.init.zeros_(self.model.bias)

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary([*self.thing_classes], [*self.predicate_classes])

    def stream(
        self, requests: Iterable[Request], *, batch_size: int = 8, pad: bool = False, readers: int = 0
    ) -> Iterator[Outcome]:
        """Yields the outcomes in the order of the requests."""
        for position, request in enumerate(requests):
            self.seen.append(str(request.image))
            try:
                output, clipped = self.find(read_image(str(request.image), "BGR"), request)
            except (OSError, ValueError) as error:
                yield Outcome(position, error=error)
                continue
            prediction = Prediction(
                output,
                thing_classes=self.thing_classes,
                predicate_classes=self.predicate_classes,
                source=request.image,
                clipped_boxes=clipped,
            )
            yield Outcome(position, prediction)

    def find(self, image: np.ndarray, request: Request) -> tuple[dict[str, Any], int]:
        """The output for an image, and how many boxes were clipped."""
        height, width = image.shape[:2]
        if height == 13:
            raise ValueError("13 rows are bad luck")
        if height == 17:
            raise KeyboardInterrupt
        boxes = np.array([[0.0, 0, width / 3, height], [width / 2, 0, width, height]])
        classes, scores, clipped = [0, 1], [0.5, 0.25], 0
        if request.given is not None:
            boxes, clipped = request.given.inside(height, width)
            indices = request.given.class_indices(self.thing_classes)
            classes = [1] * len(boxes) if indices is None else indices.tolist()
            scores = [1.0] * len(boxes) if request.given.scores is None else request.given.scores.tolist()
        entities, relations = Instances((height, width)), Instances((height, width))
        entities.pred_boxes = Boxes(torch.tensor(boxes.reshape(-1, 4), dtype=torch.float32))
        entities.scores, entities.pred_classes = torch.tensor(scores), torch.tensor(classes, dtype=torch.long)
        found = 3 if len(boxes) == 2 else 0
        relations.subject_index = torch.tensor([0, 0, 1][:found], dtype=torch.long)
        relations.object_index = torch.tensor([1, 1, 0][:found], dtype=torch.long)
        relations.pred_predicates = torch.tensor([0, 1, 0][:found], dtype=torch.long)
        relations.rank_in_pair = torch.tensor([1, 2, 1][:found], dtype=torch.long)
        relations.scores = torch.tensor([0.5, 0.25, 0.125][:found])
        return {"instances": entities, "relations": relations, "task": "sgdet"}, clipped


class PredictCommand:
    """`reldn predict` with a fake predictor.

    Attributes:
        output: folder of the results.
    """

    def __init__(self, folder: Path, config: CfgNode, monkeypatch: pytest.MonkeyPatch) -> None:
        self._weights, self.output = folder / "run", folder / "results"
        self._weights.mkdir()
        (self._weights / "config.yaml").write_text(config.dump())
        (self._weights / "model_final.pth").touch()
        monkeypatch.setattr(FakePredictor, "configs", [], raising=False)
        monkeypatch.setattr(FakePredictor, "seen", [], raising=False)
        monkeypatch.setattr("reldn_d2.cli.predict.RelationPredictor", FakePredictor)
        monkeypatch.setattr("reldn_d2.cli.prediction.shards.RelationPredictor", FakePredictor)

    def words(self, *more: object) -> list[object]:
        """The words of the command."""
        return ["predict", "--weights", self._weights, "--output", self.output, *more]

    def __call__(self, *more: object) -> int:
        return run_reldn(*self.words(*more))

    def results(self) -> list[str]:
        """Names of the results, without the record of the run."""
        return sorted(path.name for path in self.output.iterdir() if path.name != "record")

    def files(self) -> dict[str, bytes]:
        """Every result, without the record of the run."""
        return {
            path.relative_to(self.output).as_posix(): path.read_bytes()
            for path in sorted(self.output.rglob("*"))
            if path.is_file() and "record" not in path.relative_to(self.output).parts
        }


def write_picture(path: Path, value: int = 90, rows: int = 40) -> Path:
    """Writes a grey picture in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, rows), (value, value, value)).save(path)
    return path
