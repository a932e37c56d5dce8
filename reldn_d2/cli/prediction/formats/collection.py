"""A file that says something of all images at once, in a format of `reldn_d2.scene_graphs`.

Such a file can't grow. So the graphs grow as lines of a file in the record of the run, from which all such
files are written at the end, graph by graph.
"""

import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from reldn_d2.scene_graphs import About, SceneGraph, checked_graph
from reldn_d2.scene_graphs.formats import CollectionFormat
from reldn_d2.scene_graphs.formats.coco_relations import CocoRelationsFile
from reldn_d2.scene_graphs.formats.json_file import dumped
from reldn_d2.scene_graphs.formats.label_studio import LabelStudio
from reldn_d2.utils.inner_paths import names_outside
from reldn_d2.utils.json_files import parse_json
from reldn_d2.utils.plain_text import is_unicode

from ..places import RECORD
from .writer import AppendingWriter, Collected, Result, Writer


class KeptGraphs(AppendingWriter):
    """The graphs with the absolute paths of their images, once for all collections.

    Which folder all images have in common is known at the end.
    """

    shared = f"{RECORD}/graphs.jsonl"

    def encode(self, result: Result) -> bytes:
        """The graph as a line. What no format can hold is refused here, where it stops no other image."""
        kept: SceneGraph = result.graph.copy()
        kept["image"] = result.graph["image"].copy()
        kept["image"]["file_name"] = os.path.abspath(result.path)
        return dumped(checked_graph(kept, "its graph"))


class Collection(Writer[None]):
    """Writes the file at the end, from the kept graphs."""

    shared = KeptGraphs.shared

    def __init__(self, folder: Path, kind: CollectionFormat, name: str) -> None:
        """Takes the output folder, the format, and the name of the file without ending."""
        super().__init__(folder)
        self._kind, self._kept = kind, KeptGraphs(folder)
        self.at_end = tuple(f"{name}{ending}" for ending in (kind.ending, *kind.more_endings))

    def check(self, about: About) -> None:
        """Checks that the format can hold the names of the model, see `Writer.check`."""
        self._kind.check(about)

    def encode(self, result: Result) -> None:
        """Nothing: `KeptGraphs` keeps the graph."""

    def write(self, result: Result, content: None) -> None:
        """Writes nothing yet."""

    def delete(self) -> None:
        """Removes the kept graphs."""
        self._kept.delete()

    def finish(self, images: Sequence[str], about: About) -> Collected:
        """Writes the file, see `Writer.finish`."""
        path = self.folder / self.at_end[0]
        root = os.path.commonpath([os.path.dirname(image) for image in images])
        # The folder itself may be "/", which has no name.
        inner = "".join(f"{quote(os.fsencode(name))}/" for name in [os.path.basename(root)] if name)
        self._kind.write(
            _Graphs(self._kept.path, root), path, replace(about, image_prefix=f"{about.image_prefix}{inner}")
        )
        refused = {image: _refusal(_relative(image, root)) for image in images}
        left_out = {image: reason for image, reason in refused.items() if reason}
        advice = _ADVICE.get(type(self._kind))
        said = "" if advice is None else advice(path.resolve(), Path(root))
        return Collected(path, Path(root), left_out, said)


def _as_data_set(path: Path, image_root: Path) -> str:
    file, root = (json.dumps(str(x), ensure_ascii=False) for x in (path, image_root))
    return (
        f'as a data set: reldn_d2.data.register_coco_relations("NAME", {{}}, {file}, {root})\n'
        f"in a data file for --data: train: {{annotations: {file}, images: {root}}}"
    )


def _into_label_studio(path: Path, image_root: Path) -> str:
    project = (
        f"in Label Studio: a project with the labelling config {path.with_suffix('.xml')}, then import {path}"
    )
    if image_root == image_root.parent:
        return (
            f"{project}\nits pictures: Label Studio serves only folders below another one, and these images "
            f"share no folder but {image_root}: put them into one folder, and predict again"
        )
    above = shlex.quote(str(image_root.parent))
    return (
        f"{project}\nits pictures: LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={above}, and a storage of local "
        f"files at {image_root}"
    )


# What to do with a file and its images, in lines for the screen.
_ADVICE: dict[type[CollectionFormat], Callable[[Path, Path], str]] = {
    CocoRelationsFile: _as_data_set,
    LabelStudio: _into_label_studio,
}


class _Graphs:
    """The graphs of the lines, with the names of images below their root. Each pass reads the file anew."""

    def __init__(self, path: Path, root: str) -> None:
        self._path, self._root = path, root
        self._checked = False

    def __iter__(self) -> Iterator[SceneGraph]:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                source = f"{self._path}, line {number}"
                graph = parse_json(line, source)
                # The folder may come from anybody. One check is enough, and takes longer than the rest.
                if not self._checked:
                    graph = checked_graph(graph, source)
                name = _relative(graph["image"]["file_name"], self._root)
                if not _refusal(name):
                    graph["image"]["file_name"] = name
                    yield graph
        self._checked = True


def _relative(image: str, root: str) -> str:
    return Path(os.path.relpath(image, root)).as_posix()


def _refusal(name: str) -> str:
    """Why an image of this name can't be in a file of all images; empty if it can."""
    if not is_unicode(name):
        return "its name is no text in UTF-8"
    if names_outside([name]):
        return "names with a backslash, or that begin with '~' or a drive, are read as paths to other folders"
    return ""
