"""The common content of all drawings of a scene graph: relationships, and entity names and colours."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb

from reldn_d2.scene_graphs import SceneGraph, check_share
from reldn_d2.utils.plain_text import short

#: Okabe and Ito's colours, which colour-blind people can tell apart, without black, the colour of texts.
PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
#: The dark colour of texts and rims.
INK = "#101418"
#: Number of characters after which a name in a drawing is cut.
LONGEST_NAME = 40
# Boxes of ground truth and prediction that overlap by this IoU may be of the same entity.
_SAME_BOX = 0.5

#: Which entities are drawn: those with a drawn relationship, or all.
Entities = Literal["related", "all"]


@dataclass(frozen=True)
class Edge:
    """One relationship to draw.

    Attributes:
        subject, object: entity ids.
        predicate: name of the predicate.
        correct: whether the relationship agrees with the ground truth; None if that is not shown.
        score: score of the relationship; None: there is none.
    """

    subject: int
    object: int
    predicate: str
    correct: bool | None
    score: float | None = None

    @property
    def pair(self) -> tuple[int, int]:
        """Subject and object."""
        return self.subject, self.object


@dataclass(frozen=True)
class Looks:
    """How the entities of a graph are named and coloured, by id.

    Attributes:
        names: unique names.
        colours: "#rrggbb". More entities than colours share them; their names tell them apart.
    """

    names: list[str]
    colours: list[str]


def edges_to_draw(
    graph: SceneGraph,
    top_n: int,
    correct: Sequence[bool] | None = None,
    *,
    score_threshold: float = 0.0,
    entity_threshold: float = 0.0,
) -> list[Edge]:
    """The first `top_n` different relationships of a graph.

    Args:
        graph: the scene graph.
        top_n: largest number of relationships, at least 0.
        correct: a flag for every relationship of the graph.
        score_threshold: lowest score of a relationship, in [0, 1]. One without a score is always taken.
        entity_threshold: lowest score of its entities, in [0, 1].

    Raises:
        ValueError: `correct` has another length than the relationships, or a threshold is out of its range.
    """
    check_share("score_threshold", score_threshold)
    check_share("entity_threshold", entity_threshold)
    records = graph["relationships"]
    if correct is not None and len(correct) != len(records):
        raise ValueError(f"{len(correct)} flags for {len(records)} relationships; give one for each")
    flags: Sequence[bool | None] = [None] * len(records) if correct is None else correct
    passing = set(entities_above(graph, entity_threshold))
    edges: dict[tuple[int, int, str], Edge] = {}
    for record, flag in zip(records, flags, strict=True):
        key = (record["subject"], record["object"], record["predicate"])
        if _passes(record["score"], score_threshold) and passing.issuperset(key[:2]):
            edges.setdefault(key, Edge(*key, None if flag is None else bool(flag), record["score"]))
    return list(edges.values())[:top_n]


def entities_above(graph: SceneGraph, threshold: float) -> list[int]:
    """The ids of the entities with this score or more, and of those without a score."""
    return [entity["id"] for entity in graph["entities"] if _passes(entity["score"], threshold)]


def entities_of(edges: Iterable[Edge]) -> list[int]:
    """The ids of the subjects and objects, sorted."""
    return sorted({entity for edge in edges for entity in edge.pair})


def entity_names(graph: SceneGraph) -> list[str]:
    """A unique name for each entity: its class, with a running number if the class occurs more than once."""
    return _numbered([_class_of(entity["class"]) for entity in graph["entities"]], {}, set())


def entity_looks(graph: SceneGraph, beside: SceneGraph | None = None) -> Looks:
    """Names and colours of a graph's entities.

    They depend on the whole graph, so an entity looks the same in all its drawings.

    Args:
        graph: the scene graph.
        beside: ground truth that is shown beside the graph. An entity that `same_entities` finds in it takes
            its name and colour. Others get names that the ground truth does not have.
    """
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(graph["entities"]))]
    if beside is None:
        return Looks(entity_names(graph), colours)
    theirs, same = entity_looks(beside), same_entities(graph, beside)
    classes = [_class_of(entity["class"]) for entity in graph["entities"]]
    fixed = {mine: theirs.names[other] for mine, other in same.items()}
    for mine, other in same.items():
        colours[mine] = theirs.colours[other]
    # Beside a "cup", the next one is "cup 2"; beside "cup 1" and "cup 2", it is "cup 3".
    used = {*theirs.names, *(_class_of(entity["class"]) for entity in beside["entities"])}
    return Looks(_numbered(classes, fixed, used), colours)


def same_entities(graph: SceneGraph, other: SceneGraph) -> dict[int, int]:
    """Entities that two graphs of an image have in common: same class, and boxes with an IoU of 0.5 or more.

    The pair with the highest IoU comes first; each entity is in one pair at most.

    Args:
        graph, other: graphs of one image, maybe in two sizes.

    Returns:
        Id in `graph` -> id in `other`.
    """
    iou = _iou(_relative_boxes(graph), _relative_boxes(other))
    classes = [np.array([entity["class"] for entity in x["entities"]], dtype=object) for x in (graph, other)]
    iou[classes[0][:, None] != classes[1][None]] = 0
    found: dict[int, int] = {}
    for place in np.argsort(-iou, axis=None, kind="stable"):
        mine, its = (int(x) for x in np.unravel_index(place, iou.shape))
        if iou[mine, its] < _SAME_BOX:
            break
        if mine not in found and its not in found.values():
            found[mine] = its
    return found


def name_text(name: str, score: float | None) -> str:
    """The label of an entity, or of a predicate."""
    return name if score is None else f"{name} ({score:.2f})"


def edge_text(edge: Edge, scores: bool) -> str:
    """The predicate and its score, and before them a mark for right or wrong that is visible without colours.

    Args:
        edge: the relationship.
        scores: write its score, if it has one.
    """
    return _mark(edge) + name_text(short(edge.predicate, LONGEST_NAME), edge.score if scores else None)


def triplet_text(edge: Edge, names: Sequence[str], scores: bool) -> str:
    """The whole relationship as a line of text; see `edge_text`."""
    predicate = name_text(short(edge.predicate, LONGEST_NAME), edge.score if scores else None)
    return f"{_mark(edge)}{names[edge.subject]} \u2013 {predicate} \u2013 {names[edge.object]}"


def nothing(kind: str, threshold: float) -> str:
    """What a drawing says if nothing passes a threshold; `kind` is "relationship" or "entity"."""
    return f"no {kind} with a score of {threshold:.2f} or more" if threshold else f"no {kind}"


def text_colour(fill: str) -> str:
    """Black or white, whichever has more contrast to a colour "#rrggbb" (WCAG's relative luminance)."""
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in to_rgb(fill)]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    # Both contrasts are equal at this luminance.
    return "white" if luminance < 0.179 else INK


def _mark(edge: Edge) -> str:
    return {None: "", True: "\N{CHECK MARK} ", False: "\N{BALLOT X} "}[edge.correct]


def _passes(score: float | None, threshold: float) -> bool:
    return score is None or score >= threshold


def _class_of(text: str) -> str:
    # Without a name, the label would be empty.
    return short(text, LONGEST_NAME) or "?"


def _numbered(classes: Sequence[str], fixed: dict[int, str], used: set[str]) -> list[str]:
    """Names by class, with numbers where they are needed. No two are equal, and none is in `used`.

    Args:
        classes: class of each entity.
        fixed: index -> name that is given.
        used: names that only entities in `fixed` may have.
    """
    total = Counter(classes)
    # A class may be called "person 1".
    taken = used | {name for name in total if total[name] == 1}
    names = []
    for i, name in enumerate(classes):
        if i in fixed:
            names.append(fixed[i])
        elif total[name] == 1 and name not in used:
            names.append(name)
        else:
            first = 2 if name in used else 1
            names.append(next(x for number in count(first) if (x := f"{name} {number}") not in taken))
            taken.add(names[-1])
    return names


def _relative_boxes(graph: SceneGraph) -> npt.NDArray[np.float64]:
    """(n, 4) boxes, as shares of the image's width and height."""
    boxes = np.array([entity["box"] for entity in graph["entities"]], dtype=np.float64).reshape(-1, 4)
    size = np.array([graph["image"]["width"], graph["image"]["height"]] * 2, dtype=np.float64)
    return np.asarray(boxes / size)


def _iou(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    size = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.clip(size, 0, None).prod(axis=-1)
    areas = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(axis=-1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))
