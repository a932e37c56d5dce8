"""label-studio: tasks with the graphs as pre-annotations, and the labelling config beside them.

The file is a list of tasks that Label Studio imports. A graph becomes a `prediction`: a region for each
entity, a relation for each relationship. The file with the ending `.xml` is the labelling config of the
project: all classes and predicates. The `meta` of a task is the image of the graph, its name and size.

The address of an image is `About.image_prefix` and the quoted name. For pictures on the machine of Label
Studio the prefix is `/data/local-files/?d=FOLDER/`, where `FOLDER` is the path of the image folder relative
to `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`. This document root must lie above the image folder.

Reading takes the annotation of a task, whose scores are null, else its last prediction. It also reads exports
as `reldn_d2.data.datasets.label_studio_export` describes them. The image is that of `meta` if we wrote it and
the boxes have its size. Else the size is that of the boxes, and the name is the path of the address, relative
to the deepest folder that all such addresses share; the id of the task if no name of a picture is in it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from reldn_d2.data.datasets.label_studio_export import (
    FARTHEST,
    Entity,
    Task,
    address_paths,
    inner_parts,
    is_picture_name,
    read_export,
)
from reldn_d2.structures.vocabulary import Vocabulary, check_known
from reldn_d2.utils.inner_paths import names_outside
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.json_files import is_side
from reldn_d2.utils.plain_text import not_in_xml
from reldn_d2.utils.system_errors import explained

from ..checking import checked_graph
from ..graph import ImageRecord, SceneGraph, build_scene_graph, vocabulary_of
from .format import About, CollectionFormat, check_image_name, graph_named

# Names of the tags of the labelling config, which regions name again.
_IMAGE, _LABELS = "image", "label"
_REGION = re.compile(r"entity-(\d+)")


class LabelStudio(CollectionFormat):
    """A JSON list of tasks, and a labelling config."""

    ending = ".json"
    more_endings = (".xml",)

    def check(self, about: About) -> None:
        """Checks that the labelling config can hold the names, see `CollectionFormat.check`."""
        if about.vocabulary is not None:
            labelling_config(about.vocabulary)

    def check_replaced(self, path: Path) -> None:
        """Checks that only a labelling config is replaced, see `CollectionFormat.check_replaced`."""
        config = path.with_suffix(".xml")
        try:
            with config.open("rb") as file:
                start = file.read(1000)
        except FileNotFoundError:
            return
        except OSError as error:
            raise explained(error, config) from error
        if not start.lstrip().startswith(b"<View"):
            raise ValueError(
                f"{path}: not written: the labelling config would replace {config}, which is no labelling "
                "config: choose another name"
            )

    def write_all(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes the tasks, and the labelling config with the ending .xml, see `Format.write`."""
        vocabulary = about.vocabulary or vocabulary_of(graph_named(path, _storable, x) for x in graphs)
        config = labelling_config(vocabulary)
        with atomic_write(path) as file:
            between = b"[\n"
            for graph in graphs:
                task = graph_named(path, lambda one: _task(one, vocabulary, about), graph)
                file.write(between + json.dumps(task, allow_nan=False).encode())
                between = b",\n"
            file.write(b"\n]\n" if between == b",\n" else b"[]\n")
            # The tasks get their name last: if the config can't be written, both files stay as they were.
            with atomic_write(path.with_suffix(".xml")) as config_file:
                config_file.write(config.encode())

    def read(self, path: Path) -> Iterator[SceneGraph]:
        """Reads tasks or an export, see `Format.read`. The log counts what was changed or left out."""
        tasks, counts = read_export(path, with_predictions=True)
        pairs = [*zip(tasks, _images(tasks), strict=True)]
        images = [(task, image) for task, image in pairs if image is not None]
        without = [task for task, image in pairs if image is None]
        if without and not images:
            raise ValueError(
                f"{path}, task {without[0].identity!r}: the file does not say the size of the image, as no "
                "box has original_width and original_height. Read it with load_label_studio, which looks at "
                "the pictures"
            )
        for task in without:
            counts.add("tasks_without_size", task.identity)
        counts.log(str(path), len(images))
        for task, image in images:
            yield checked_graph(_graph(task, image), f"{path}, task {task.identity!r}")


def labelling_config(vocabulary: Vocabulary) -> str:
    """The labelling config of a project, XML.

    Raises:
        ValueError: a name holds a character that XML does not have.

    Example:
        >>> from reldn_d2.scene_graphs.formats.label_studio import labelling_config
        >>> from reldn_d2.structures.vocabulary import Vocabulary
        >>> print(labelling_config(Vocabulary(["cup"], ["on & in"])), end="")
        <View>
          <Image name="image" value="$image"/>
          <RectangleLabels name="label" toName="image">
            <Label value="cup"/>
          </RectangleLabels>
          <Relations>
            <Relation value="on &amp; in"/>
          </Relations>
        </View>
    """
    labels, relations = (
        "".join(f"    <{tag} value={_attribute(name)}/>\n" for name in names)
        for tag, names in (("Label", vocabulary.thing_classes), ("Relation", vocabulary.predicate_classes))
    )
    return (
        f'<View>\n  <Image name="{_IMAGE}" value="${_IMAGE}"/>\n'
        f'  <RectangleLabels name="{_LABELS}" toName="{_IMAGE}">\n{labels}  </RectangleLabels>\n'
        f"  <Relations>\n{relations}  </Relations>\n</View>\n"
    )


def _attribute(name: str) -> str:
    # Line ends and tabs are spaces in an attribute.
    if not_in_xml(name) or "\t" in name or "\n" in name:
        raise ValueError(
            f"the name {name!r} holds a character that the labelling config can't hold: rename it, "
            "or use json"
        )
    return quoteattr(name)


def _storable(graph: SceneGraph) -> SceneGraph:
    """The graph, whose names the labelling config must be able to hold."""
    labelling_config(vocabulary_of([graph]))
    return graph


def _task(graph: SceneGraph, vocabulary: Vocabulary, about: About) -> dict[str, Any]:
    image, entities, relationships = graph["image"], graph["entities"], graph["relationships"]
    check_image_name(image["file_name"])
    check_known([entity["class"] for entity in entities], vocabulary.thing_classes, "class")
    check_known([x["predicate"] for x in relationships], vocabulary.predicate_classes, "predicate")
    size = {"original_width": image["width"], "original_height": image["height"], "image_rotation": 0}
    regions: list[dict[str, Any]] = []
    for entity in entities:
        x0, y0, x1, y1 = entity["box"]
        per_x, per_y = 100 / image["width"], 100 / image["height"]
        if max(abs(x0 * per_x), abs(x1 * per_x), abs(y0 * per_y), abs(y1 * per_y)) > FARTHEST / 2:
            raise ValueError(
                f"entities[{entity['id']}] has the box {entity['box']}, far away from its image: correct it, "
                "or use jsonl"
            )
        regions.append(
            {
                "id": f"entity-{entity['id']}",
                "type": "rectanglelabels",
                "from_name": _LABELS,
                "to_name": _IMAGE,
                **size,
                **_given(score=entity["score"]),
                "value": {
                    "x": x0 * per_x,
                    "y": y0 * per_y,
                    "width": (x1 - x0) * per_x,
                    "height": (y1 - y0) * per_y,
                    "rotation": 0,
                    "rectanglelabels": [entity["class"]],
                },
            }
        )
    relations = [
        {
            "type": "relation",
            "from_id": f"entity-{relationship['subject']}",
            "to_id": f"entity-{relationship['object']}",
            "direction": "right",
            "labels": [relationship["predicate"]],
            **_given(score=relationship["score"]),
            **_given(meta=_given(predicate_score=relationship.get("predicate_score")) or None),
        }
        for relationship in relationships
    ]
    scores = [entity["score"] for entity in entities if entity["score"] is not None]
    return {
        "data": {_IMAGE: about.image_prefix + quote(image["file_name"].encode(errors="surrogatepass"))},
        "meta": dict(image),
        "predictions": [
            {
                "model_version": about.model or "reldn_d2",
                **_given(score=sum(scores) / len(scores) if scores else None),
                "result": [*regions, *relations],
            }
        ],
    }


def _given(**values: Any) -> dict[str, Any]:
    """Those of the values that are not None."""
    return {key: value for key, value in values.items() if value is not None}


def _graph(task: Task, image: ImageRecord) -> SceneGraph:
    # Regions that we wrote come first and in our order, whatever the editor did to it.
    order = sorted(range(len(task.entities)), key=lambda i: _rank(task.entities[i]))
    number = {old: new for new, old in enumerate(order)}
    entities = [task.entities[i] for i in order]
    graph = build_scene_graph(
        image,
        [entity.label for entity in entities],
        [list(entity.corners(image["width"], image["height"])) for entity in entities],
        [(number[x.subject], number[x.object], x.label) for x in task.relations],
    )
    for record, entity in zip(graph["entities"], entities, strict=True):
        record["score"] = entity.score
    for relationship, relation in zip(graph["relationships"], task.relations, strict=True):
        relationship["score"] = relation.score
        if relation.predicate_score is not None:
            relationship["predicate_score"] = relation.predicate_score
    return graph


def _rank(entity: Entity) -> tuple[bool, int]:
    ours = _REGION.fullmatch(entity.region) if isinstance(entity.region, str) else None
    return (False, int(ours[1])) if ours else (True, 0)


def _images(tasks: Sequence[Task]) -> list[ImageRecord | None]:
    """The images of tasks; None if the file does not say the size."""
    own = [_own_image(task) for task in tasks]
    paths = [_path(task.image) for task in tasks]
    folders = [path[:-1] for path, image in zip(paths, own, strict=True) if path and image is None]
    levels = zip(*folders, strict=False)
    shared = sum(1 for _ in takewhile(lambda names: len({*names}) == 1, levels))
    found: list[ImageRecord | None] = []
    for task, path, image in zip(tasks, paths, own, strict=True):
        name = "/".join(path[shared:])
        if not name or names_outside([name]):
            name = str(task.identity)
        if image is None and task.size is not None:
            image = {"file_name": name, "width": task.size[0], "height": task.size[1]}
        found.append(image)
    return found


def _own_image(task: Task) -> ImageRecord | None:
    """The image that we wrote into `meta`; None if `meta` is something else, or boxes have another size."""
    name, width, height = (task.meta.get(key) for key in ("file_name", "width", "height"))
    if not isinstance(name, str) or not name or names_outside([name]):
        return None
    if not isinstance(width, int) or not isinstance(height, int) or not (is_side(width) and is_side(height)):
        return None
    if task.size not in (None, (width, height)):
        return None
    return {"file_name": name, "width": width, "height": height}


def _path(address: str) -> list[str]:
    """Host or bucket, folders and name of a picture; empty if the address ends in no name of a picture."""
    host = re.match(r"[A-Za-z][\w+.-]*://([^/?#]+)", address)
    path = next((path for path in address_paths(address) if is_picture_name(path)), None)
    return [] if path is None else [*(host.groups() if host else ()), *inner_parts(path)]
