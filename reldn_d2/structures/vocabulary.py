"""Names of the classes that a checkpoint's outputs stand for."""

from dataclasses import dataclass
from typing import Any

KINDS = ("thing_classes", "predicate_classes")


@dataclass(frozen=True)
class Vocabulary:
    """Names of the classes that a model's outputs stand for.

    Attributes:
        thing_classes: entity classes.
        predicate_classes: predicates, without the background; empty for a detector trained without them.
    """

    thing_classes: list[str]
    predicate_classes: list[str]

    @classmethod
    def from_saved(cls, saved: Any, source: str) -> "Vocabulary":
        """
        Args:
            saved: what a checkpoint has as "vocabulary": a dict of both lists.
            source: of the checkpoint, for the message.

        Raises:
            ValueError: it is something else.
        """
        if (
            not isinstance(saved, dict)
            or set(saved) != set(KINDS)
            or not all(isinstance(names, list) for names in saved.values())
        ):
            raise ValueError(
                f"{source} has a 'vocabulary' that is not a dict of the lists {' and '.join(KINDS)}: take it out, or write "
                "it so"
            )
        return cls(**saved)

    def names(self, kind: str) -> list[str]:
        """The names of one of KINDS."""
        names: list[str] = getattr(self, kind)
        return names

    def differing_kinds(self, found: "Vocabulary") -> list[str]:
        """Those of KINDS that both have, but not the same names in the same order."""
        pairs = {kind: (self.names(kind), found.names(kind)) for kind in KINDS}
        return [kind for kind, (own, other) in pairs.items() if own and other and own != other]

    def check_equal(self, found: "Vocabulary", source: str) -> None:
        """
        Args:
            found: must have the same names; empty lists fit everything.
            source: where it was found, for the message.

        Raises:
            ValueError: `found` has other names, or the same in another order.
        """
        for kind in self.differing_kinds(found):
            own, other = self.names(kind), found.names(kind)
            place = next(
                (i for i, (a, b) in enumerate(zip(own, other, strict=False)) if a != b),
                min(len(own), len(other)),
            )
            raise ValueError(
                f"{source} has {len(other)} {kind}, the data set in use {len(own)}; they differ from number "
                f"{place} on ({other[place : place + 1]} and {own[place : place + 1]}): use what belongs together"
            )
