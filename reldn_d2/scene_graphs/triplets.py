"""The columns of tables with a row for each relationship."""

from collections.abc import Iterator

from .graph import SceneGraph

_CORNERS = ("x0", "y0", "x1", "y1")
#: Name of a column -> the type of its values. "score" is that of the triplet; the score of the predicate is
#: missing where a graph has none. "id" is the entity's number in the graph; boxes are XYXY in pixels.
COLUMNS: dict[str, type] = {
    **dict.fromkeys(("image", "subject", "predicate", "object"), str),
    **dict.fromkeys(("score", "subject_score", "predicate_score", "object_score"), float),
    **dict.fromkeys(("subject_id", "object_id"), int),
    **{f"{role}_{corner}": float for role in ("subject", "object") for corner in _CORNERS},
}

Value = str | float | int | None


def rows_of(graph: SceneGraph) -> Iterator[list[Value]]:
    """A row for each relationship, best first."""
    for relationship in graph["relationships"]:
        subject, target = (graph["entities"][relationship[role]] for role in ("subject", "object"))
        yield [
            *(graph["image"]["file_name"], subject["class"], relationship["predicate"], target["class"]),
            *(relationship["score"], subject["score"]),
            *(relationship.get("predicate_score"), target["score"]),
            *(subject["id"], target["id"], *subject["box"], *target["box"]),
        ]
