"""Matching a part: annotations and predictions are read, checked and compared, and the records are saved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import prepare_prediction
from ..graph_metrics import matched, scored_image
from ..graphs import GroundTruthGraph, IntArray, PredictedGraph, Task
from ..io.annotations import load_annotations
from ..io.predictions import read_predictions
from ..protocols.confusion import is_confusable
from ..protocols.protocol import EvaluatedSplit, StreamingProtocol
from ..triplet_graphs import count_repeats
from .folders import Part
from .records import PartRecords, save_records

_CHANGED = "Do not change files that are evaluated, and start again with --restart"
#: Checks that predicted boxes are in pixels of their images. Takes the name of their first file, image id ->
#: (height, width), and image id -> prediction. Returns warnings. Raises ValueError if they can't be scored.
BoxCheck = Callable[[str, Mapping[str, tuple[int, int]], Mapping[str, PredictedGraph]], list[str]]


@dataclass(frozen=True)
class Matching:
    """What all parts of an evaluation have in common. It can be pickled if its protocols can.

    Attributes:
        task: the task.
        protocols: the protocols.
        split: names of the predicates, number of classes, and the training split if it is known.
        confusable: whether the records say which images have a confusable case.
        check_boxes: see `BoxCheck`; None: boxes are not checked.
        identity: what the records depend on.
        folder: folder of the records.
    """

    task: Task
    protocols: tuple[StreamingProtocol[Any], ...]
    split: EvaluatedSplit
    confusable: bool
    check_boxes: BoxCheck | None
    identity: Mapping[str, str]
    folder: Path

    def match(self, part: Part) -> list[str]:
        """Compare the predictions of a part with its annotations, and save the records.

        Returns:
            Warnings about the predicted boxes.

        Raises:
            ValueError: a file is damaged or has other contents than its type says, or see
                `prepare_prediction`. The message names the file and the image.
            OSError: a file can't be read, or the records can't be written.
        """
        saved = load_annotations(part.annotations)
        prepared: dict[str, PredictedGraph] = {}
        repeats = np.zeros(2, dtype=np.int64)
        for path in part.predictions:
            predicted = read_predictions(path, part.rows).predictions
            repeats += count_repeats(predicted.values())
            for name, graph in predicted.items():
                if name not in saved.truths:
                    raise ValueError(
                        f"{path}: image {name}: {part.annotations} had it when the evaluation began. "
                        f"{_CHANGED}"
                    )
                prepared[name] = self._prepared(graph, saved.truths[name], f"{path}: image {name}")
        if len(prepared) != part.num_predicted:
            raise ValueError(
                f"{', '.join(map(str, part.predictions))}: {part.num_predicted} images of {part.annotations} "
                f"had predictions when the evaluation began, and {len(prepared)} have them now. {_CHANGED}"
            )
        warnings: list[str] = []
        if self.check_boxes is not None and prepared:
            warnings = self.check_boxes(str(part.predictions[0]), saved.sizes, prepared)
        save_records(self.folder, part.number, self.identity, self._records(saved.truths, prepared, repeats))
        return warnings

    def _prepared(self, predicted: PredictedGraph, truth: GroundTruthGraph, where: str) -> PredictedGraph:
        assert self.split.num_classes is not None
        return prepare_prediction(
            predicted,
            truth,
            self.task,
            self.protocols,
            num_classes=self.split.num_classes,
            num_predicates=len(self.split.predicate_classes),
            where=where,
        )

    def _records(
        self,
        truths: Mapping[str, GroundTruthGraph],
        predictions: Mapping[str, PredictedGraph],
        repeats: IntArray,
    ) -> PartRecords:
        nothing = PredictedGraph.empty()
        images = [
            scored_image(name, truth, predictions.get(name, nothing), self.split)
            for name, truth in truths.items()
        ]
        confusable = [is_confusable(truth) for truth in truths.values()] if self.confusable else None
        return PartRecords(
            np.array(list(truths), dtype=np.str_),
            np.array([len(truth.relations) > 0 for truth in truths.values()], dtype=np.bool_),
            None if confusable is None else np.array(confusable, dtype=np.bool_),
            repeats,
            {
                protocol.name: protocol.columns([matched(protocol, image, self.task) for image in images])
                for protocol in self.protocols
            },
        )
