"""The confusable cases of a scene, with their candidates and hence their chance level."""

from dataclasses import dataclass
from typing import Any

from .vocabulary import Category, Predicate

Triplet = tuple[int, int, int]


@dataclass(frozen=True)
class ConfusableCase:
    """One annotated relationship and the triplets that only the pixels tell apart.

    Attributes:
        kind: "instance" (which of several cups does this person hold?) or "proximity" (which person plays
            which guitar?).
        relation: the annotated (subject, object, predicate).
        candidates: "instance": the person with every cup; "proximity": every person with every guitar.
            Always includes `relation`.
        chance: probability that a candidate picked at random is an annotated relationship.
    """

    kind: str
    relation: Triplet
    candidates: tuple[Triplet, ...]
    chance: float


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
        candidates = tuple((s, o, predicate) for s in subjects for o in targets)
        chance = len(annotated.intersection(candidates)) / len(candidates)
        cases.append(ConfusableCase(kind, (subject, object, predicate), candidates, chance))
    return cases
