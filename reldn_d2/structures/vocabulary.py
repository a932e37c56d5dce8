"""`Vocabulary`: the names of a model's classes, saved in its checkpoints."""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from difflib import get_close_matches
from reprlib import repr as short_repr
from typing import Any

KINDS = ("thing_classes", "predicate_classes")
# How many unknown names a message names.
_NAMED = 5


@dataclass(frozen=True)
class Vocabulary:
    """Names of the classes of a model's outputs.

    Attributes:
        thing_classes: entity classes.
        predicate_classes: predicates, without the background; empty for a detector trained without them.
    """

    thing_classes: list[str]
    predicate_classes: list[str]

    @classmethod
    def from_saved(cls, saved: Any, source: str) -> "Vocabulary":
        """Reads the vocabulary of a checkpoint.

        Args:
            saved: the checkpoint's "vocabulary", a dict of both lists.
            source: address of the checkpoint, for the message.

        Raises:
            ValueError: `saved` is not such a dict.
        """
        if (
            not isinstance(saved, dict)
            or set(saved) != set(KINDS)
            or not all(isinstance(names, list) for names in saved.values())
            or not all(isinstance(name, str) for names in saved.values() for name in names)
        ):
            raise ValueError(
                f"{source} has a 'vocabulary' that is not a dict of the lists {' and '.join(KINDS)} of texts"
                ": correct it, or remove it from the checkpoint"
            )
        return cls(**saved)

    def names(self, kind: str) -> list[str]:
        """The names of one kind of classes, see KINDS."""
        names: list[str] = getattr(self, kind)
        return names

    def differing_kinds(self, found: "Vocabulary") -> list[str]:
        """The kinds of classes that both name, but with other names or in another order."""
        pairs = {kind: (self.names(kind), found.names(kind)) for kind in KINDS}
        return [kind for kind, (own, other) in pairs.items() if own and other and own != other]

    def check_equal(self, found: "Vocabulary", source: str) -> None:
        """Checks that another vocabulary has the same names in the same order.

        Args:
            found: vocabulary to compare. An empty list is not compared.
            source: where it was found, for the message.

        Raises:
            ValueError: `found` has other names, or the same names in another order.
        """
        for kind in self.differing_kinds(found):
            own, other = self.names(kind), found.names(kind)
            place = first_difference(own, other)
            raise ValueError(
                f"{source} has {len(other)} {kind}, the data set in use has {len(own)}; they differ from "
                f"number {place} on ({other[place : place + 1]} and {own[place : place + 1]}): use a "
                "checkpoint and data sets with the same classes"
            )


def first_difference(names: Sequence[str], others: Sequence[str]) -> int:
    """The first place where two different lists have other names, or where the shorter one ends."""
    pairs = enumerate(zip(names, others, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(names), len(others)))


def class_names(given: Any, kind: str, dataset_name: str) -> list[str]:
    """Names of classes from the metadata of a data set.

    Args:
        given: the names in the order of their numbers.
        kind: see KINDS.
        dataset_name: name of the data set, for the message.

    Raises:
        ValueError: it is one text, a dict or a set, or has other values than texts.
    """
    # A text would be taken letter by letter, and a dict or a set in an order of its own.
    if isinstance(given, str | Mapping | Set) or not all(isinstance(name, str) for name in given):
        raise ValueError(
            f"{kind} of data set {dataset_name} is {short_repr(given)}: give a list of texts, in the order "
            "of their numbers"
        )
    return list(given)


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """The known names that somebody may have meant by a name, the nearest first; at most three."""
    return get_close_matches(name, known, n=3)


def check_known(names: Iterable[str], known: Collection[str], kind: str) -> None:
    """Checks that a vocabulary has names.

    Args:
        names: the names that are used.
        known: the names of the vocabulary, fastest as a set or a dict.
        kind: what they are, for the message: "class" or "predicate".

    Raises:
        ValueError: the vocabulary lacks some. The message names the first and what is similar to each.
    """
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    if unknown:
        described = []
        for name in unknown[:_NAMED]:
            near = ", ".join(f"{x!r:.80}" for x in nearest_names(name, known))
            described.append(f"{name!r:.80} ({f'similar: {near}' if near else 'no similar name'})")
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise ValueError(
            f"the vocabulary has no {kind} {', '.join(described)}{more}: correct the name, or add it to the "
            "vocabulary"
        )
