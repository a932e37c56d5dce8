"""What a run says when it ends: its first numbers, and where its files lie.

`summary.md` and `summary.json` say the same in the output folder; after an evaluation alone they lie in its
folder `inference`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reldn_d2.evaluation.protocols.headline import headline, main_metrics
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import markdown_table, to_markdown

from .console import LOG_FILE, as_block
from .parts import CONFIG_FILE, FINAL_WEIGHTS, RunParts

SUMMARY_FILE, SUMMARY_DATA_FILE = "summary.md", "summary.json"
BEST_WEIGHTS = "model_best.pth"
INFERENCE = "inference"

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
    """

    title: str
    test_sets: Sequence[str]
    evaluation: Mapping[str, str]
    results: Results
    files: Mapping[str, str] = field(default_factory=dict)
    iterations: int | None = None

    def for_the_screen(self) -> str:
        """The title, the headline, the first numbers of each protocol, and the files."""
        parts = [f"  {self._headline()}", as_block(first_numbers(self.results)), as_block(self.files)]
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
        return "\n\n".join([*head, *tables]) + "\n"

    def save(self, folder: Path) -> None:
        """Writes `summary.md` and `summary.json`, each in one step."""
        data = {key: value for key, value in asdict(self).items() if key != "files"}
        for name, text in (
            (SUMMARY_DATA_FILE, json.dumps(data, indent=1)),
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


def finished_results(parts: RunParts) -> dict[str, Any] | None:
    """The results of a training that ended, if it was as long and evaluated in the same way as `parts` say.

    Returns:
        See `reldn_d2.engine.run.test`; None if there is no such training in the folder.
    """
    try:
        saved = json.loads(Path(parts.output_dir, SUMMARY_DATA_FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    same = (
        saved.get("iterations") == parts.max_iter
        and saved.get("test_sets") == [*parts.test_datasets]
        and saved.get("evaluation") == evaluation_settings(parts)
    )
    results: dict[str, Any] | None = saved["results"] if same else None
    return results


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
    tasks = {group.split("/")[-2] for group in results} if parts.is_relation_model else set()
    files = {}
    for name in parts.test_datasets:
        where = f" on {name}" if len(parts.test_datasets) > 1 else ""
        detections = Path(parts.output_dir, INFERENCE, name)
        for task in sorted(tasks):
            folder = detections / task
            files[f"results{where}"] = folder / "relation_results.md"
            files[f"every number{where}"] = folder / "relation_results.csv"
            files[f"predictions{where}"] = folder / "relation_predictions.npz"
        if not tasks:
            files[f"predictions{where}"] = detections / "coco_instances_results.json"
    return files
