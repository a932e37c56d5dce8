"""What a predictor finds in an image, with names."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from detectron2.structures import Instances
from numpy.typing import NDArray

from reldn_d2.scene_graphs import (
    SceneGraph,
    check_share,
    scene_graph_to_dict,
    to_networkx,
    top_relationships,
)

from .pictures import Color, ImageLike, to_picture

if TYPE_CHECKING:
    import networkx

#: Lowest score of a relationship that is drawn, if nobody says another one.
SHOWN = 0.1


@dataclass(frozen=True)
class Entity:
    """An entity of an image.

    Attributes:
        index: row of the prediction's "instances".
        name, class_index: its class.
        score: probability of the class, in [0, 1].
        box: (x0, y0, x1, y1) in pixels of the image.
    """

    index: int
    name: str
    class_index: int
    score: float
    box: tuple[float, float, float, float]

    def __str__(self) -> str:
        return f"{self.name} {self.index}"


@dataclass(frozen=True)
class Relationship:
    """A relationship of two entities.

    Attributes:
        subject, object: the entities.
        predicate, predicate_index: the predicate.
        score: score of the triplet, the product of the other three.
        subject_score, object_score: scores of the entities.
        predicate_score: probability of the predicate for this pair. It is NaN if the relation head does not
            say it and a score is 0.
    """

    subject: Entity
    predicate: str
    object: Entity
    predicate_index: int
    score: float
    subject_score: float
    predicate_score: float
    object_score: float

    def __str__(self) -> str:
        return f"{self.subject} {self.predicate} {self.object} ({self.score:.2f})"


class Prediction(dict[str, Any]):
    """The output of RelDN for one image, as Detectron2's users know it, and the same with names.

    As a dict it has "instances", "relations" and "task", see `RelDN.inference`, in pixels of the image. The
    best 100 relationships are kept.

    Attributes:
        thing_classes, predicate_classes: names of the model's classes.
        source: the image as it was given. A file is read again when the prediction is drawn.
        color: order of the channels of `source`, if it is an array or tensor.
        clipped_boxes: how many of the given boxes reached beyond the image by more than a pixel.
    """

    def __init__(
        self,
        output: Mapping[str, Any],
        *,
        thing_classes: Sequence[str],
        predicate_classes: Sequence[str],
        source: ImageLike,
        color: Color = "bgr",
        clipped_boxes: int = 0,
    ) -> None:
        super().__init__(output)
        self.thing_classes, self.predicate_classes = thing_classes, predicate_classes
        self.source, self.color, self.clipped_boxes = source, color, clipped_boxes

    @property
    def task(self) -> str:
        """What was given: "sgdet" nothing (or detections), "sgcls" boxes, "prdcls" boxes and classes."""
        task: str = self["task"]
        return task

    @cached_property
    def entities(self) -> list[Entity]:
        """All entities; given boxes in the order in which they were given."""
        found: Instances = self["instances"]
        return [
            Entity(index, self.thing_classes[class_index], class_index, score, tuple(box))
            for index, (class_index, score, box) in enumerate(
                zip(
                    found.pred_classes.tolist(),
                    found.scores.tolist(),
                    found.pred_boxes.tensor.tolist(),
                    strict=True,
                )
            )
        ]

    @cached_property
    def relationships(self) -> list[Relationship]:
        """The best relationships, at most 100, one predicate for each pair (the graph constraint)."""
        return self.best()

    def best(
        self, top_k: int = 100, *, predicates_per_pair: int = 1, score_threshold: float = 0.0
    ) -> list[Relationship]:
        """The best relationships, by falling score.

        Args:
            top_k: largest number of relationships, in [1, 100].
            predicates_per_pair: largest number of predicates of an ordered pair, at least 1.
            score_threshold: lowest score, in [0, 1].

        Raises:
            ValueError: a number is out of its range.
        """
        check_share("score_threshold", score_threshold)
        found = top_relationships(self["relations"], top_k=top_k, predicates_per_pair=predicates_per_pair)
        found = found[found.scores >= score_threshold]
        columns = [
            found.subject_index.tolist(),
            found.object_index.tolist(),
            found.pred_predicates.tolist(),
            found.scores.tolist(),
            _predicate_scores(found, self["instances"]),
        ]
        return [
            Relationship(
                subject=self.entities[subject],
                predicate=self.predicate_classes[predicate],
                object=self.entities[object],
                predicate_index=predicate,
                score=score,
                subject_score=self.entities[subject].score,
                predicate_score=predicate_score,
                object_score=self.entities[object].score,
            )
            for subject, object, predicate, score, predicate_score in zip(*columns, strict=True)
        ]

    def to_dict(
        self,
        *,
        top_k: int = 100,
        predicates_per_pair: int = 1,
        score_threshold: float = 0.0,
        entity_threshold: float = 0.0,
    ) -> SceneGraph:
        """The scene graph as plain data, as `reldn predict` writes it.

        Args:
            top_k, predicates_per_pair, score_threshold: see `best`.
            entity_threshold: lowest score of an entity, in [0, 1]; others and their relationships are left
                out, and the rest is numbered anew.

        Raises:
            ValueError: a number is out of its range.
        """
        return scene_graph_to_dict(
            self,
            self.thing_classes,
            self.predicate_classes,
            file_name=_file_name(self.source),
            top_k=top_k,
            predicates_per_pair=predicates_per_pair,
            score_threshold=score_threshold,
            entity_threshold=entity_threshold,
        )

    def to_networkx(self, **options: Any) -> "networkx.MultiDiGraph":
        """The scene graph with entities as nodes 0, 1, ... and relationships as edges.

        `reldn_d2.scene_graphs.to_networkx` describes the attributes.

        Args:
            options: see `to_dict`.
        """
        return to_networkx(self.to_dict(**options))

    def draw(
        self,
        top_n: int = 10,
        *,
        score_threshold: float = SHOWN,
        entity_threshold: float = 0.0,
        entities: Literal["related", "all"] = "related",
        scores: bool = True,
    ) -> NDArray[np.uint8]:
        """The image with its best relationships; without any, with its entities, and a line that says so.

        Names and colours do not depend on the thresholds.

        Args:
            top_n: largest number of relationships.
            score_threshold: lowest score of a relationship, in [0, 1]. The one of `reldn predict` is the
                default.
            entity_threshold: lowest score of an entity, in [0, 1]; see `draw_scene_graph` for those without a
                relationship.
            entities: "related" draws entities that have a drawn relationship, "all" all.
            scores: write scores beside names and predicates.

        Returns:
            (H', W', 3) uint8 RGB; a small image is enlarged. What finds no place is listed below the image.

        Raises:
            OSError, ValueError: the image file can't be read any more, or has another size now.
        """
        from reldn_d2.visualization import draw_scene_graph  # late: it imports matplotlib

        graph = self.to_dict()
        picture = to_picture(self.source, self.color, "RGB")
        height, width = self["instances"].image_size
        # A file may have changed, its bytes not.
        if not isinstance(self.source, bytes) and picture.shape[:2] != (height, width):
            raise ValueError(
                f"{self.source} has {picture.shape[1]} x {picture.shape[0]} pixels now, and had {width} x "
                f"{height} when it was predicted: predict it again"
            )
        return draw_scene_graph(
            np.ascontiguousarray(picture),
            graph,
            top_n=top_n,
            score_threshold=score_threshold,
            entity_threshold=entity_threshold,
            entities=entities,
            scores=scores,
        )

    def __repr__(self) -> str:
        return (
            f"<Prediction ({self.task}): {len(self.entities)} entities, {len(self.relationships)} "
            f"relationships{''.join(f'; {x}' for x in self.relationships[:3])}>"
        )

    def _repr_html_(self) -> str:
        """The drawing and the best relationships, for notebooks; no drawing if the image file is gone."""
        from reldn_d2.visualization import prediction_html

        try:
            drawing = self.draw()
        except (OSError, ValueError):
            drawing = None
        return prediction_html(drawing, self.to_dict(top_k=10, score_threshold=SHOWN))


def _file_name(source: ImageLike) -> str:
    # A picture of PIL knows the file that it was read from.
    name = source if isinstance(source, str | os.PathLike) else getattr(source, "filename", None)
    return Path(name).name if name else ""


def _predicate_scores(relations: Instances, entities: Instances) -> list[float]:
    if relations.has("predicate_scores"):
        return list(relations.predicate_scores.tolist())
    pair = entities.scores[relations.subject_index] * entities.scores[relations.object_index]
    return list((relations.scores / pair).tolist())
