"""The confusable cases of a scene, with their candidates and hence their chance level."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .vocabulary import Category, Predicate

Triplet = tuple[int, int, int]


@dataclass(frozen=True)
class ConfusableCase:
    """One annotated relationship and the triplets that only the pixels tell apart from it.

    Attributes:
        kind: "instance" (which of several cups does this person hold?) or "proximity" (which person plays
            which guitar?).
        relation: the annotated (subject, object, predicate).
        wrong: candidates that are not annotated. "instance": the person with other cups; "proximity": people
            with others' guitars.
    """

    kind: str
    relation: Triplet
    wrong: tuple[Triplet, ...]

    @property
    def chance(self) -> float:
        """Probability that random scores solve the case."""
        return 1 / (1 + len(self.wrong))

    def is_solved(self, score: Mapping[Triplet, float]) -> bool:
        """Whether the annotated triplet scores above every wrong one."""
        return all(score[self.relation] > score[triplet] for triplet in self.wrong)


def confusable_cases(dataset_dict: dict[str, Any]) -> list[ConfusableCase]:
    """One case for every annotated "holds" (instance) and "plays" (proximity), in annotation order.

    Args:
        dataset_dict: a scene's dataset dict, with `annotations` and `relations`.
    """
    categories = [annotation["category_id"] for annotation in dataset_dict["annotations"]]
    people = [row for row, category in enumerate(categories) if category == Category.PERSON]
    triplets: list[Triplet] = [(int(s), int(o), int(p)) for s, o, p in dataset_dict["relations"]]
    annotated = set(triplets)
    cases = []
    for subject, object, predicate in triplets:
        if predicate not in (Predicate.HOLDS, Predicate.PLAYS):
            continue
        kind, subjects = ("instance", [subject]) if predicate == Predicate.HOLDS else ("proximity", people)
        targets = [row for row, category in enumerate(categories) if category == categories[object]]
        candidates = ((s, o, predicate) for s in subjects for o in targets)
        wrong = tuple(triplet for triplet in candidates if triplet not in annotated)
        cases.append(ConfusableCase(kind, (subject, object, predicate), wrong))
    return cases
