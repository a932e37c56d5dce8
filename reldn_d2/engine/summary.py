"""What a run says when it ends: its first numbers, and where its files lie.

`summary.md` and `summary.json` say the same in the output folder; after an evaluation alone they lie in its
folder `inference`.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reldn_d2.evaluation.io.results import EXCLUDED_FILE, excluded_images
from reldn_d2.evaluation.protocols.headline import headline, main_metrics
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import markdown_table, to_markdown

from .console import LOG_FILE, as_block
from .parts import CONFIG_FILE, FINAL_WEIGHTS, RunParts
from .places import TEST_DETECTIONS

SUMMARY_FILE, SUMMARY_DATA_FILE = "summary.md", "summary.json"
BEST_WEIGHTS = "model_best.pth"
INFERENCE = "inference"
LAST_EVALUATION_FILE = "last_evaluation.json"
#: In the folder of a task of a data set: the last evaluation, and what it depends on.
EVALUATION_FILE = "evaluation.json"
# In the folder of a data set: the images that its evaluation excluded.
UNREADABLE_FILE = "unreadable_images.json"

Results = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Summary:
    """The end of a run.

    Attributes:
        title: what ended, in one sentence.
        test_sets: names of the data sets of the evaluation.
        evaluation: the settings that say how it was evaluated.
        results: see `reldn_d2.engine.run.test`.
        files: what lies where.
        iterations: length of the training; None: it was an evaluation alone.
        notes: sentences about the results.
        identity: what the results depend on, see `evaluation_identity`.
    """

    title: str
    test_sets: Sequence[str]
    evaluation: Mapping[str, str]
    results: Results
    files: Mapping[str, str] = field(default_factory=dict)
    iterations: int | None = None
    notes: Sequence[str] = ()
    identity: Mapping[str, str] = field(default_factory=dict)

    def for_the_screen(self) -> str:
        """The title, the headline, the first numbers of each protocol, and the files."""
        parts = [
            "\n".join(f"  {line}" for line in (self._headline(), *self.notes)),
            as_block(first_numbers(self.results)),
            as_block(self.files),
        ]
        return f"{self.title}\n" + "\n\n".join(filter(None, parts))

    def as_markdown(self) -> str:
        """The same as a document."""
        tables = [
            markdown_table(header, [*rows.items()])
            for header, rows in (
                (("protocol", "first numbers, %"), first_numbers(self.results)),
                (("what", "where"), self.files),
            )
            if rows
        ]
        head = [f"# {to_markdown(self.title)}", f"**{to_markdown(self._headline())}**"]
        notes = [to_markdown(note) for note in self.notes]
        return "\n\n".join([*head, *notes, *tables]) + "\n"

    def save(self, folder: Path) -> None:
        """Writes `summary.md` and `summary.json`, each in one step."""
        data = {key: value for key, value in asdict(self).items() if key != "files"}
        for name, text in (
            (SUMMARY_DATA_FILE, json.dumps(data, indent=1, default=float)),
            (SUMMARY_FILE, self.as_markdown()),
        ):
            with atomic_write(folder / name) as file:
                file.write(text.encode())

    def _headline(self) -> str:
        first = headline(self.results)
        if first is None:
            return "There are no numbers: nothing was evaluated."
        return f"{first} (on {', '.join(self.test_sets)})"


def first_numbers(results: Results) -> dict[str, str]:
    """Key of the results -> its main numbers as text."""
    return {
        group: ", ".join(f"{name} {value:.2f}" for name, value in main_metrics(group, metrics).items())
        for group, metrics in results.items()
    }


def evaluation_settings(parts: RunParts) -> dict[str, str]:
    """The settings that say how a model is evaluated: task and protocols."""
    settings = parts.settings()
    return {key: settings[key] for key in (parts.keys.task, parts.keys.protocols) if key in settings}


def finished_results(parts: RunParts, iterations: int, identity: Mapping[str, str]) -> dict[str, Any] | None:
    """The results of a training that ended, if it was as long and evaluated in the same way as `parts` say.

    Args:
        parts: parts of the training.
        iterations: its length.
        identity: see `evaluation_identity`.

    Returns:
        See `reldn_d2.engine.run.test`; None if there is no such training in the folder.
    """
    return _saved_results(Path(parts.output_dir, SUMMARY_DATA_FILE), parts, iterations, identity)


def save_evaluation(parts: RunParts, iterations: int, identity: Mapping[str, str], results: Results) -> None:
    """Keeps the results of the last evaluation of a training, for `finished_evaluation`.

    Args:
        parts: parts of the training.
        iterations: how many iterations the evaluated weights were trained.
        identity: see `evaluation_identity`.
        results: see `reldn_d2.engine.run.test`.
    """
    data = {
        "iterations": iterations,
        "test_sets": [*parts.test_datasets],
        "evaluation": evaluation_settings(parts),
        "identity": {**identity},
        "results": results,
    }
    with atomic_write(Path(parts.output_dir, INFERENCE, LAST_EVALUATION_FILE)) as file:
        file.write(json.dumps(data, indent=1, default=float).encode())


def save_task_results(parts: RunParts, name: str, identity: Mapping[str, str], results: Results) -> None:
    """Keeps the results of RelDN on one data set, and of which weights and settings they are.

    Args:
        parts: parts of the evaluation.
        name: the data set.
        identity: see `evaluation_identity`.
        results: "task/protocol" -> metric -> number.
    """
    folder = Path(parts.output_dir, INFERENCE, name)
    notes, settings = notes_on_results(parts, results, [name]), parts.settings()
    if any(json.loads(settings.get(key, "[]")) for key in TEST_DETECTIONS):
        notes.append(f"{name}: where the task is sgdet, the boxes are precomputed detections.")
    for task in {group.partition("/")[0] for group in results if "/" in group}:
        data = {
            "data_set": name,
            "identity": {**identity},
            "results": {group: x for group, x in results.items() if group.startswith(f"{task}/")},
            "notes": notes,
        }
        with atomic_write(folder / task / EVALUATION_FILE) as file:
            file.write(json.dumps(data, indent=1, default=float).encode())


def finished_evaluation(
    parts: RunParts, iterations: int, identity: Mapping[str, str]
) -> dict[str, Any] | None:
    """The results that `save_evaluation` kept, if they are of these iterations, weights and settings."""
    return _saved_results(
        Path(parts.output_dir, INFERENCE, LAST_EVALUATION_FILE), parts, iterations, identity
    )


def _saved_results(
    file: Path, parts: RunParts, iterations: int, identity: Mapping[str, str]
) -> dict[str, Any] | None:
    try:
        saved = json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    same = (
        saved.get("iterations") == iterations
        and saved.get("test_sets") == [*parts.test_datasets]
        and saved.get("evaluation") == evaluation_settings(parts)
        and saved.get("identity") == identity
    )
    results: dict[str, Any] | None = saved["results"] if same else None
    return results


def notes_on_results(parts: RunParts, results: Results, names: Sequence[str] | None = None) -> list[str]:
    """What the last evaluation excluded, for each test set from which it excluded images.

    Args:
        parts: parts of the evaluation.
        results: its results, whose keys name the tasks.
        names: data sets; None: the test sets.
    """
    notes = []
    for name in parts.test_datasets if names is None else names:
        folder = Path(parts.output_dir, INFERENCE, name)
        with suppress(FileNotFoundError):
            found = json.loads((folder / UNREADABLE_FILE).read_text())
            notes.append(f"{name}: {excluded_images(len(found['unreadable']), found['images'])}")
        for task in _tasks(parts, results):
            with suppress(FileNotFoundError):
                excluded = json.loads((folder / task / EXCLUDED_FILE).read_text())
                notes += [f"{name}, {task}/{protocol}: {note}" for protocol, note in excluded.items()]
    return notes


def _tasks(parts: RunParts, results: Results) -> list[str]:
    """The tasks of the results, sorted; none of a detector."""
    groups = [group.split("/") for group in results] if parts.is_relation_model else []
    return sorted({words[-2] for words in groups if len(words) > 1})


def files_of_run(parts: RunParts, results: Results, *, trained: bool, best: str = "") -> dict[str, str]:
    """What lies where in the output folder of a run; only files that exist.

    Args:
        parts: parts of the run.
        results: results of the last evaluation, whose keys name the task.
        trained: whether the run was a training, whose weights and metrics count.
        best: what the best weights reached, in words.
    """
    folder = Path(parts.output_dir)
    of_training = {
        "weights": folder / FINAL_WEIGHTS,
        "best weights": folder / BEST_WEIGHTS,
        "metrics": folder / "metrics.json",
    }
    named = {
        **(of_training if trained else {}),
        **_files_of_evaluation(parts, results),
        "log": folder / LOG_FILE,
        "config": folder / CONFIG_FILE,
    }
    found = {name: str(file) for name, file in named.items() if file.exists()}
    found["summary"] = str((folder if trained else folder / INFERENCE) / SUMMARY_FILE)
    if "best weights" in found and best:
        found["best weights"] += f" ({best})"
    return found


def _files_of_evaluation(parts: RunParts, results: Results) -> dict[str, Path]:
    tasks = _tasks(parts, results)
    files = {}
    for name in parts.test_datasets:
        where = f" on {name}" if len(parts.test_datasets) > 1 else ""
        detections = Path(parts.output_dir, INFERENCE, name)
        files[f"unreadable images{where}"] = detections / UNREADABLE_FILE
        for task in tasks:
            folder, of = detections / task, f" of {task}" if len(tasks) > 1 else ""
            files[f"results{of}{where}"] = folder / "relation_results.md"
            files[f"every number{of}{where}"] = folder / "relation_results.csv"
            files[f"predictions{of}{where}"] = folder / "relation_predictions.npz"
        if not tasks:
            files[f"predictions{where}"] = detections / "coco_instances_results.json"
    return files
