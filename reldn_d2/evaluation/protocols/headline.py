"""The numbers of an evaluation that are reported first.

The headline of an evaluation is the first main number of its first protocol. So the protocol that is usual
for a data set comes first in a list of protocols, as in the configs of this project.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

# Protocol, or task of Detectron2 -> shell patterns of its main numbers, the first one first. If several names
# match a pattern, the last one counts: for `reldn` that with the most predicates a pair.
MAIN_METRICS: dict[str, tuple[str, ...]] = {
    # Papers call mean recall the mean over all predicates of the vocabulary.
    "motifs": ("R@50", "mR_all@50"),
    "reldn": ("rel_k*_R@50", "phr_k*_R@50"),
    "vrd2016": ("R@50", "phr_R@50"),
    "openimages": ("score", "score_wtd"),
    "reldn_openimages": ("score_wtd", "R@50"),
    "confusion": ("entity_instance_right", "proximal_right"),
    "bbox": ("AP", "AP50"),
    "segm": ("AP", "AP50"),
}


@dataclass(frozen=True)
class Headline:
    """The number of an evaluation that is reported first.

    Attributes:
        group: key of the results, for example "sgdet/motifs" or "bbox".
        metric: name of the number.
        value: the number, percent.
    """

    group: str
    metric: str
    value: float

    @property
    def key(self) -> str:
        """Name of the number in metrics.json."""
        return f"{self.group}/{self.metric}"

    def __str__(self) -> str:
        return f"{self.metric} of {self.group}: {self.value:.2f}"


def main_metrics(group: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """The main numbers of one protocol, first things first.

    Args:
        group: name of a protocol, or a key of results that ends with it ("sgdet/motifs").
        metrics: all numbers of the protocol.

    Returns:
        Name -> number. For protocols of other projects, which `MAIN_METRICS` does not know, the first number.
    """
    protocol = group.rpartition("/")[2].removesuffix("_confusable")
    found = {}
    for pattern in MAIN_METRICS.get(protocol, ()):
        names = [name for name in metrics if fnmatchcase(name, pattern)]
        found.update({name: metrics[name] for name in names[-1:]})
    return found or dict(list(metrics.items())[:1])


def headline(results: Mapping[str, Mapping[str, float]]) -> Headline | None:
    """The first main number of the first protocol that has one; None if there are no numbers."""
    for group, metrics in results.items():
        for metric, value in main_metrics(group, metrics).items():
            return Headline(group, metric, value)
    return None
