#!/usr/bin/env python
"""Sends scene graphs through a real Label Studio and back, and compares what comes back.

    python -m venv label-studio && label-studio/bin/pip install label-studio==1.23.2
    python tools/label_studio_trial.py --label-studio label-studio/bin/label-studio

The program starts on this machine, in a temporary folder, with a user and a token of its own, and ends with
the script. Label Studio has an environment of its own, because it needs other versions of NumPy and OpenCV.
"""

import argparse
import contextlib
import copy
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from reldn_d2.data import load_label_studio
from reldn_d2.scene_graphs import About, SceneGraph, build_scene_graph, read_graphs, write_graphs
from reldn_d2.structures.vocabulary import Vocabulary

_THINGS = ["cup", "person", 'a "quoted" <class> & more', "컵"]
_PREDICATES = ["holds", "next to", "<on> & 'in'"]
# Pixels: what the way through per cent may change.
_TOLERANCE = 1e-6
_SECONDS_TO_START = 600


def main() -> None:
    """Runs the trial and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--label-studio", default="label-studio", help="the program (default: on the path)")
    program = shutil.which(parser.parse_args().label_studio)
    if program is None:
        sys.exit(
            "There is no label-studio here: install it in an environment of its own, and name the program"
        )
    with tempfile.TemporaryDirectory() as folder:
        for line in trial(program, Path(folder)):
            print(line)


def trial(program: str, folder: Path) -> list[str]:
    """Sends graphs through Label Studio and compares.

    Args:
        program: the command label-studio.
        folder: an empty folder for everything.

    Returns:
        What was found, one line each.

    Raises:
        AssertionError: something came back that is not what was sent.
        RuntimeError: the program does not start or refuses a request.
    """
    folder = folder.resolve()
    photos = folder / "files" / "photos"
    graphs = _graphs(photos)
    file = folder / "tasks.label_studio.json"
    about = About(Vocabulary(_THINGS, _PREDICATES), "reldn", f"/data/local-files/?d={quote(photos.name)}/")
    write_graphs(graphs, file, file_format="label-studio", about=about)
    with _server(program, folder, photos.parent) as studio:
        return _through(studio, folder, photos, graphs, file)


def _graphs(photos: Path) -> list[SceneGraph]:
    """Four graphs with pictures, with names and boxes that are not round."""
    numbers = random.Random(0)
    graphs = []
    for name, count in (("one a.png", 5), ("sub/50% + #1.png", 3), ("empty.png", 0), ("skipped.png", 2)):
        width, height = numbers.randint(50, 300), numbers.randint(50, 300)
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height), "olive").save(photos / name)
        boxes = []
        for _ in range(count):
            x0, y0 = numbers.uniform(0, width / 2), numbers.uniform(0, height / 2)
            boxes.append([x0, y0, numbers.uniform(x0 + 1, width), numbers.uniform(y0 + 1, height)])
        graphs.append(
            build_scene_graph(
                {"file_name": name, "width": width, "height": height},
                [_THINGS[i % len(_THINGS)] for i in range(count)],
                boxes,
                [(i, (i + 1) % count, _PREDICATES[i % len(_PREDICATES)]) for i in range(count)],
                entity_scores=[0.9 - 0.1 * i for i in range(count)],
                relationship_scores=[0.5 - 0.05 * i for i in range(count)],
                predicate_scores=[0.7] * count,
            )
        )
    return graphs


class _Studio:
    """Requests to a running Label Studio."""

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self._token = token

    def get(self, path: str) -> bytes:
        """The answer to a GET."""
        return self._ask(path, None)

    def post(self, path: str, content: Any) -> Any:
        """The answer to a POST of JSON."""
        return json.loads(self._ask(path, json.dumps(content).encode()))

    def _ask(self, path: str, body: bytes | None) -> bytes:
        headers = {"Authorization": f"Token {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path}: {error} {error.read()[:2000]!r}") from error


@contextlib.contextmanager
def _server(program: str, folder: Path, document_root: Path) -> Iterator[_Studio]:
    """Label Studio on a free port; it ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(20)
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "HOME": str(folder),
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(document_root),
    }
    command = [
        *(program, "start", "--no-browser", "--data-dir", str(folder / "studio"), "--port", str(port)),
        *("--internal-host", "127.0.0.1", "--username", "trial@example.com", "--password", "trial-password"),
        *("--user-token", token, "--enable-legacy-api-token"),
    ]
    log = folder / "label_studio.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, cwd=folder, start_new_session=True
        )
    try:
        studio = _Studio(f"http://127.0.0.1:{port}", token)
        _wait(studio, process, log)
        yield studio
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(studio: _Studio, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < end and process.poll() is None:
        try:
            studio.get("/health")
            return
        except (OSError, RuntimeError):
            time.sleep(1)
    raise RuntimeError(
        f"Label Studio does not answer. Its last words:\n{log.read_text(errors='replace')[-3000:]}"
    )


def _through(studio: _Studio, folder: Path, photos: Path, graphs: list[SceneGraph], file: Path) -> list[str]:
    config = file.with_suffix(".xml").read_text(encoding="utf-8")
    project = studio.post("/api/projects", {"title": "trial", "label_config": config})["id"]
    studio.post("/api/storages/localfiles", {"project": project, "title": "photos", "path": str(photos)})
    imported = studio.post(f"/api/projects/{project}/import", json.loads(file.read_bytes()))
    assert imported["task_count"] == len(graphs), imported
    assert imported["prediction_count"] == len(graphs), imported
    found = [f"imported: {imported['task_count']} tasks, {imported['prediction_count']} predictions"]

    tasks = json.loads(studio.get(f"/api/tasks?project={project}&fields=all&page_size=100"))["tasks"]
    tasks.sort(key=lambda task: int(task["id"]))
    for task, graph in zip(tasks, graphs, strict=True):
        served = studio.get(task["data"]["image"])
        assert served == (photos / graph["image"]["file_name"]).read_bytes()
    found.append(f"served: {len(tasks)} pictures, byte by byte as in the folder")

    expected = _annotate(studio, tasks, graphs)
    export = folder / "export.json"
    answer = studio.get(f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true")
    export.write_bytes(answer)
    returned = read_graphs(export, file_format="label-studio")
    error = _compare(returned, expected[:3])
    found.append(f"exported and read: {len(returned)} graphs; boxes differ by at most {error:.1g} pixels")

    dataset = load_label_studio(
        export, photos, "label_studio_trial", thing_classes=_THINGS, predicate_classes=_PREDICATES
    )
    for record, graph in zip(dataset, expected, strict=False):
        assert Path(record["file_name"]) == photos / graph["image"]["file_name"]
        boxes = np.array([entity["box"] for entity in graph["entities"]]).reshape(-1, 4)
        assert np.abs(record["annotations"].boxes - boxes).max(initial=0) <= _TOLERANCE
        assert [_THINGS[i] for i in record["annotations"].classes] == [x["class"] for x in graph["entities"]]
        assert [[int(a), int(b), _PREDICATES[p]] for a, b, p in record["relations"]] == [
            [x["subject"], x["object"], x["predicate"]] for x in graph["relationships"]
        ]
    assert len(dataset) == len(graphs) - 1
    found.append(f"as a data set: {len(dataset)} images, the skipped task left out")

    small = folder / "export_min.json"
    small.write_bytes(studio.get(f"/api/projects/{project}/export?exportType=JSON_MIN"))
    try:
        load_label_studio(small, photos)
    except ValueError as refused:
        assert "JSON-MIN" in str(refused)
        found.append(f"JSON_MIN is refused: {refused}")
    else:
        raise AssertionError("an export as JSON_MIN was read")
    return found


def _annotate(studio: _Studio, tasks: list[Any], graphs: list[SceneGraph]) -> list[SceneGraph]:
    """Takes the predictions as annotations, corrected as a person would; returns what must come back."""
    expected = copy.deepcopy(graphs)
    for number, (task, graph) in enumerate(zip(tasks, expected, strict=True)):
        (prediction,) = json.loads(studio.get(f"/api/predictions?task={task['id']}"))
        content: dict[str, Any] = {"result": prediction["result"], "lead_time": 1.5}
        for entity in graph["entities"]:
            entity["score"] = None
        for relationship in graph["relationships"]:
            relationship["score"] = None
            del relationship["predicate_score"]
        if number == 0:
            _correct(content["result"], graph)
        elif number == 3:
            content = {"result": [], "was_cancelled": True}
        studio.post(f"/api/tasks/{task['id']}/annotations/", content)
    return expected


def _correct(result: list[Any], graph: SceneGraph) -> None:
    """Changes a predicate, turns a relation around, joins two boxes both ways, and adds a rotated box."""
    relations = [item for item in result if item["type"] == "relation"]
    relations[0]["labels"] = ["next to"]
    graph["relationships"][0]["predicate"] = "next to"
    relations[1]["direction"] = "left"
    one = graph["relationships"][1]
    one["subject"], one["object"] = one["object"], one["subject"]
    result.append({**relations[2], "from_id": "entity-0", "to_id": "entity-3", "direction": "bi"})
    for subject, object in ((0, 3), (3, 0)):
        label = relations[2]["labels"][0]
        graph["relationships"].append(
            {"subject": subject, "object": object, "predicate": label, "score": None}
        )
    width, height = graph["image"]["width"], graph["image"]["height"]
    regions = [item for item in result if item["type"] != "relation"]
    # A quarter turn clockwise around the upper left corner: the box lies to the left of it.
    value: dict[str, Any] = {"x": 50, "y": 20, "width": 1000 / width, "height": 2000 / height, "rotation": 90}
    value |= {"rectanglelabels": ["cup"]}
    result.append({**regions[0], "id": "Dx_aB12", "value": value})
    left, top = width / 2, height / 5
    box = [left - 20, top, left, top + 10]
    graph["entities"].append({"id": len(graph["entities"]), "class": "cup", "score": None, "box": box})


def _compare(returned: list[SceneGraph], expected: list[SceneGraph]) -> float:
    """The largest difference of two coordinates, in pixels; everything else must be equal."""
    largest = 0.0
    assert len(returned) == len(expected)
    for one, other in zip(returned, expected, strict=True):
        assert one["image"] == other["image"]
        assert one["relationships"] == other["relationships"]
        for a, b in zip(one["entities"], other["entities"], strict=True):
            assert {**a, "box": None} == {**b, "box": None}
            largest = max([largest, *(abs(x - y) for x, y in zip(a["box"], b["box"], strict=True))])
    assert largest <= _TOLERANCE, largest
    return largest


if __name__ == "__main__":
    main()
