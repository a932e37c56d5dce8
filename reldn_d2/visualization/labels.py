"""The common content of all drawings of a scene graph: relationships, and entity names and colours."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reldn_d2.scene_graphs import SceneGraph
from reldn_d2.utils.plain_text import short

#: Colours that are bright enough for black text and differ clearly from their neighbours in the list.
PALETTE = (
    "#ff5a5f", "#2f9bff", "#ffb400", "#21c07a", "#b98cff", "#ff8fd0",
    "#00c2d1", "#ff8a3d", "#a3d900", "#8c9bff", "#d9a066", "#f5ea60",
)  # fmt: skip


@dataclass(frozen=True)
class Edge:
    """One relationship to draw.

    Attributes:
        subject, object: entity ids.
        predicate: name of the predicate.
        correct: whether the relationship agrees with the ground truth; None if that is not shown.
    """

    subject: int
    object: int
    predicate: str
    correct: bool | None


def edges_to_draw(graph: SceneGraph, top_n: int, correct: Sequence[bool] | None = None) -> list[Edge]:
    """The first `top_n` different relationships of a graph.

    Args:
        graph: the scene graph.
        top_n: largest number of relationships, at least 0.
        correct: a flag for every relationship of the graph.

    Raises:
        ValueError: `correct` has another length than the relationships.
    """
    records = graph["relationships"]
    if correct is not None and len(correct) != len(records):
        raise ValueError(f"{len(correct)} flags for {len(records)} relationships; give one for each")
    flags: Sequence[bool | None] = [None] * len(records) if correct is None else correct
    edges: dict[tuple[int, int, str], Edge] = {}
    for record, flag in zip(records, flags, strict=True):
        key = (record["subject"], record["object"], record["predicate"])
        edges.setdefault(key, Edge(*key, None if flag is None else bool(flag)))
    return list(edges.values())[:top_n]


def entities_of(edges: Iterable[Edge]) -> list[int]:
    """The ids of the subjects and objects, sorted."""
    return sorted({entity for edge in edges for entity in (edge.subject, edge.object)})


def entity_names(graph: SceneGraph, entities: Sequence[int]) -> dict[int, str]:
    """A text for each entity: its class, with a running number if the class occurs more than once."""
    classes = {entity: short(graph["entities"][entity]["class"]) for entity in entities}
    total, seen = Counter(classes.values()), Counter[str]()
    names = {}
    for entity, name in classes.items():
        seen[name] += 1
        names[entity] = f"{name} {seen[name]}" if total[name] > 1 else name
    return names


def entity_colours(entities: Sequence[int]) -> dict[int, str]:
    """A colour for each entity. Its id decides, if possible, so that drawings of the same entities agree."""
    colours: dict[int, str] = {}
    free: list[int] = []
    for entity in entities:
        free = free or list(range(len(PALETTE)))
        wanted = entity % len(PALETTE)
        chosen = min(free, key=lambda index: (index - wanted) % len(PALETTE))
        free.remove(chosen)
        colours[entity] = PALETTE[chosen]
    return colours


def edge_text(edge: Edge) -> str:
    """The predicate, and before it a mark for right or wrong that is visible without colours."""
    mark = {None: "", True: "\N{CHECK MARK} ", False: "\N{BALLOT X} "}[edge.correct]
    return mark + short(edge.predicate)
