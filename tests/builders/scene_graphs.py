"""Scene graphs as people and models make them, with names that mean something to programs."""

from typing import Any

from hypothesis import strategies as st

from reldn_d2.scene_graphs import SceneGraph

from .hostile_names import HOSTILE, ORDINARY, anything

#: Names of classes and predicates. Some look like numbers or nothing.
names = st.sampled_from(
    ["", " ", "person", "1", "1.0", "007", "true", "null", "nan", "None", "NA", *ORDINARY]
)
#: The same, with names that mean something to programs, and with characters that not every file can hold.
hostile_names = names | st.sampled_from(sorted(HOSTILE)) | anything
#: Names of image files.
file_names = st.sampled_from(["a.jpg", "Straße/사진 1.png", "b c.webp"])
scores = st.floats(0, 1)


@st.composite
def boxes(draw: st.DrawFn, width: int, height: int) -> list[float]:
    """A box in the image; some have no area, stick out a bit or have integers."""
    numbers = draw(
        st.sampled_from([st.integers(0, 40), st.floats(-0.5, 40.5, width=32), st.floats(-0.5, 40.5)])
    )
    sides = []
    for side in (width, height):
        sides.append(sorted(min(draw(numbers), side + 0.5) for _ in range(2)))
    (x0, x1), (y0, y1) = sides
    return [x0, y0, x1, y1]


@st.composite
def scene_graphs(
    draw: st.DrawFn, texts: st.SearchStrategy[str] = names, images: st.SearchStrategy[str] = file_names
) -> SceneGraph:
    """A graph of a prediction (with or without scores of predicates) or of people (without scores)."""
    width, height = draw(st.integers(1, 50)), draw(st.integers(1, 50))
    scored, with_predicates = draw(st.booleans()), draw(st.booleans())
    a_score = scores if scored else st.none()
    found: list[dict[str, Any]] = [
        {"id": i, "class": draw(texts), "score": draw(a_score), "box": draw(boxes(width, height))}
        for i in range(draw(st.integers(0, 4)))
    ]
    relationships = []
    for _ in range(draw(st.integers(0, 5)) if found else 0):
        ids = st.integers(0, len(found) - 1)
        relationship = {
            "subject": draw(ids),
            "object": draw(ids),
            "predicate": draw(texts),
            "score": draw(a_score),
        }
        if scored and with_predicates:
            relationship["predicate_score"] = draw(scores)
        relationships.append(relationship)
    return {  # type: ignore[typeddict-item,return-value]
        "version": 1,
        "image": {"file_name": draw(images), "width": width, "height": height},
        "entities": found,
        "relationships": relationships,
    }


def related_only(graph: SceneGraph) -> SceneGraph:
    """What a table holds of a graph: the entities with a relationship, numbered anew."""
    ids = sorted({x[role] for x in graph["relationships"] for role in ("subject", "object")})
    number = {identity: i for i, identity in enumerate(ids)}
    return {
        **graph,
        "entities": [{**graph["entities"][i], "id": number[i]} for i in ids],
        "relationships": [
            {**x, "subject": number[x["subject"]], "object": number[x["object"]]}
            for x in graph["relationships"]
        ],
    }


def example_graph() -> SceneGraph:
    """A graph with everything: a self relation, a repeated one, an entity alone, long fractions."""
    return {
        "version": 1,
        "image": {"file_name": "party/한국.jpg", "width": 64, "height": 48},
        "entities": [
            {"id": 0, "class": "person", "score": 0.1 + 0.2, "box": [0, 0, 10, 40]},
            {"id": 1, "class": "cup", "score": 1 / 3, "box": [5.1, 7.7, 9.3, 12.9]},
            {"id": 2, "class": "1", "score": 1.0, "box": [20, 20, 30.25, 30]},
            {"id": 3, "class": "컵", "score": 1e-12, "box": [40, 1, 41, 2]},
        ],
        "relationships": [
            {"subject": 1, "object": 0, "predicate": "on", "score": 0.7, "predicate_score": 0.8},
            {"subject": 0, "object": 1, "predicate": "holds", "score": 0.6, "predicate_score": 0.1},
            {"subject": 2, "object": 2, "predicate": "007", "score": 0.6, "predicate_score": 0.0},
            {"subject": 0, "object": 1, "predicate": "holds", "score": 1e-9, "predicate_score": 2 / 3},
            {"subject": 0, "object": 1, "predicate": "on", "score": 0.0, "predicate_score": 1.0},
        ],
    }
