"""Recalls of a data set, from where each image's lists find its annotated relationships."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..graphs import BoolArray, IntArray
from ..metrics import (
    PerImageRecall,
    image_recall_per_predicate,
    macro_recall,
    mean_over_all,
    mean_over_annotated,
    micro_recall,
    share_per_predicate,
)
from ..training_split import TrainingSplit
from .protocol import EvaluatedSplit, ProtocolResult

_AVERAGES = {"macro": macro_recall, "micro": micro_recall}


@dataclass(frozen=True)
class FoundRelationships:
    """Where the lists of one image find its annotated relationships.

    Attributes:
        places: (lists, R) int, place (from 0) of the triplet that finds each one; the list length if none.
        predicate: (R,) int.
        zero_shot: see `ScoredImage`.
    """

    places: IntArray
    predicate: IntArray
    zero_shot: BoolArray | None


@dataclass(frozen=True)
class RecallSummary:
    """Which recalls are reported, and under which names.

    Attributes:
        name: of the protocol, for the counts of each image.
        prefixes: one for each ranked list; it begins the names of the list's numbers.
        recall_at: the K's.
        average: the average named by the plain metric name; the other one gets its name as a prefix.
        mean_recalls: also report recall averaged over predicates, and the table of predicates.
    """

    name: str
    prefixes: tuple[str, ...]
    recall_at: tuple[int, ...]
    average: Literal["macro", "micro"]
    mean_recalls: bool = False

    def summarise(
        self, image_ids: Sequence[str], records: Sequence[FoundRelationships], split: EvaluatedSplit
    ) -> ProtocolResult:
        """Recall of every list at every K, over all relationships, over those whose labels training lacks (if
        it is known), and averaged over predicates (if wanted)."""
        found = self._pool(image_ids, records)
        result = ProtocolResult({}, {})
        self._add_recalls(result, self.name, "R", found)
        if split.training is not None:
            zero_shot = [record.zero_shot for record in records if record.zero_shot is not None]
            unseen = found.rows(np.concatenate([np.zeros(0, dtype=np.bool_), *zero_shot]))
            self._add_recalls(result, f"{self.name}_zero_shot", "zR", unseen)
            result.notes.append(
                f"zR: of {len(unseen.image)} of {len(found.image)} relationships, whose labels training lacks."
            )
        if self.mean_recalls:
            self._add_mean_recalls(result, found, split)
        return result

    def _pool(self, image_ids: Sequence[str], records: Sequence[FoundRelationships]) -> "_Split":
        places = [np.zeros((len(self.prefixes), 0), dtype=np.int32), *(record.places for record in records)]
        predicate = [np.zeros(0, dtype=np.int64), *(record.predicate for record in records)]
        image = np.repeat(np.arange(len(records)), [len(record.predicate) for record in records])
        pooled = np.concatenate(places, axis=1)
        found = {(prefix, k): pooled[i] < k for i, prefix in enumerate(self.prefixes) for k in self.recall_at}
        return _Split(tuple(image_ids), image, np.concatenate(predicate), found)

    def _add_recalls(self, result: ProtocolResult, counted: str, letter: str, found: "_Split") -> None:
        """Recall averaged both ways; the plain name is that of the protocol's own average."""
        counts = found.per_image(letter)
        result.per_image[counted] = counts
        for average in sorted(_AVERAGES, key=lambda name: name != self.average):
            prefix = "" if average == self.average else f"{average}_"
            for name, hits in counts.hits.items():
                result.metrics[prefix + name] = _AVERAGES[average](hits, counts.ground_truths)

    def _add_mean_recalls(self, result: ProtocolResult, found: "_Split", split: EvaluatedSplit) -> None:
        num_predicates = len(split.predicate_classes)
        annotated = np.bincount(found.predicate, minlength=num_predicates)
        result.per_predicate["annotated"] = annotated
        groups = {}
        if isinstance(split.training, TrainingSplit):
            result.per_predicate["in training"] = split.training.predicate_counts
            groups = split.training.predicate_groups()
        for (prefix, k), hit in found.found.items():
            forms = {
                "": image_recall_per_predicate(hit, found.predicate, found.image, num_predicates),
                "pooled_": share_per_predicate(hit, found.predicate, num_predicates),
            }
            for form, recall in forms.items():
                result.per_predicate[f"{form}{prefix}R@{k}"] = recall
                result.metrics[f"{form}{prefix}mR@{k}"] = mean_over_annotated(recall)
                result.metrics[f"{form}{prefix}mR_all@{k}"] = mean_over_all(recall)
            for group, members in groups.items():
                result.metrics[f"{prefix}mR_{group}@{k}"] = mean_over_annotated(forms[""][members])
        result.notes.append(
            f"mR is the mean over the {np.count_nonzero(annotated)} predicates that are annotated, mR_all over "
            f"all {num_predicates}."
        )


@dataclass(frozen=True)
class _Split:
    """The annotated relationships of some images, one after the other, and which of them each list found."""

    image_ids: tuple[str, ...]
    image: IntArray
    predicate: IntArray
    found: Mapping[tuple[str, int], BoolArray]

    def rows(self, index: BoolArray) -> "_Split":
        """The relationships that `index` selects; all images stay."""
        found = {key: value[index] for key, value in self.found.items()}
        return _Split(self.image_ids, self.image[index], self.predicate[index], found)

    def per_image(self, letter: str) -> PerImageRecall:
        num_images = len(self.image_ids)
        hits = {
            f"{prefix}{letter}@{k}": np.bincount(self.image[hit], minlength=num_images)
            for (prefix, k), hit in self.found.items()
        }
        return PerImageRecall(self.image_ids, np.bincount(self.image, minlength=num_images), hits)
