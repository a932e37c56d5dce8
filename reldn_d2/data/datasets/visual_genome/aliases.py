"""Names of raw Visual Genome, as annotators typed them, and the classes that they mean.

An alias table has a line for each name and other spellings of it, `near,next to` or `bookend,bookends`: first the name that
stands for all, then its aliases. A name may have several lines. What the tables in use leave open is settled here:

* Lines are followed from one to the next until a class is found or the table has no more to say: `near,beside` and
  `beside,is beside` make "is beside" near. A name that is a class already stays what it is.
* An alias of two different names is an error, as is a name that leads back to itself. Spellings that differ only in
  what `clean_name` removes are the same name.
"""

import os
import string
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from reldn_d2.utils.json_files import read_text


def clean_name(name: str) -> str:
    """Lower case, single spaces, no punctuation or space at the end."""
    return " ".join(name.lower().split()).rstrip(string.punctuation + " ")


def read_aliases(path: str | os.PathLike[str]) -> dict[str, str]:
    """Alias -> the name it stands for, one step; both as `clean_name` gives them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, or not names and commas; no line with an alias; an alias of two names, or names that lead to
            each other in a circle.
    """
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Alias table {path} does not exist. Put it there as datasets/README.md shows, or pass None to do without."
        ) from error
    stands_for: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if '"' in line or "\t" in line:
            raise ValueError(
                f"{path}: line {number}: {line!r:.200} has a quote character or a tab. Write names as they are, with "
                "commas between them."
            )
        name, *aliases = map(clean_name, line.split(","))
        for alias in aliases:
            if alias in ("", name):
                continue
            if stands_for.setdefault(alias, name) != name:
                raise ValueError(
                    f"{path}: line {number}: {alias!r} is an alias of {name!r} here, but of {stands_for[alias]!r} "
                    "in an earlier line. Remove it from one of the two."
                )
    if "," not in text:
        raise ValueError(
            f"{path}: line 1: neither it nor any other line has an alias. Write lines like `near,next to`, or pass None to do "
            "without aliases."
        )
    for alias in stands_for:
        passed = [alias]
        while passed[-1] in stands_for:
            following = stands_for[passed[-1]]
            if following in passed:
                raise ValueError(
                    f"{path}: the aliases {passed} lead back to {following!r}. Break the circle."
                )
            passed.append(following)
    return stands_for


class NameCodes:
    """Numbers names: classes first, in their order, then whatever else occurs.

    Attributes:
        num_classes: codes below it are classes.
        names: the name of each code.
    """

    def __init__(self, classes: Sequence[str], stands_for: Mapping[str, str]) -> None:
        """
        Args:
            classes: distinct names.
            stands_for: see `read_aliases`.

        Raises:
            ValueError: two classes of the same name.
        """
        self.num_classes = len(classes)
        self.names = [clean_name(name) for name in classes]
        self._codes = {name: code for code, name in enumerate(self.names)}
        self._stands_for = stands_for
        if len(self._codes) < len(classes):
            repeated = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"The class {repeated!r} is listed twice. Classes need distinct names.")

    def code(self, given: str) -> int:
        """The code of a name as it was typed."""
        known = self._codes.get(given)
        if known is None:
            name = clean_name(given)
            while name not in self._codes and name in self._stands_for:
                name = self._stands_for[name]
            known = self._codes.setdefault(name, len(self.names))
            if known == len(self.names):
                self.names.append(name)
            # many are typed the same way
            self._codes[given] = known
        return known

    def most_frequent(self, codes: NDArray[np.int64], count: int = 5) -> str:
        """The most frequent names among the codes, with their numbers, for a message."""
        totals = np.bincount(codes, minlength=len(self.names))
        order = np.argsort(-totals, kind="stable")[:count]
        return ", ".join(f"{self.names[code]!r} ({totals[code]})" for code in order if totals[code])
