"""`reldn ablate`: the paper's numbers, the runs that are made or kept, and tables counted by hand."""

import csv
import fcntl
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import mean, stdev
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from detectron2.modeling import build_model
from hypothesis import given, settings
from hypothesis import strategies as st

from reldn_cli.main import main
from reldn_d2.ablation.intervals import pooled_differences
from reldn_d2.ablation.jobs import LOG_FILE
from reldn_d2.ablation.runs import Run, config_name, delta_options, make_run, read_delta
from reldn_d2.ablation.tables import read_table, value_of
from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.data import register_data_file
from reldn_d2.engine import load_config, parts_of
from reldn_d2.evaluation import GroundTruthGraph, evaluate_graphs, reldn
from reldn_d2.evaluation import reldn_openimages as ablation_protocol
from reldn_d2.evaluation.io.results import PER_IMAGE_FILE, RESULTS_FILE, save_per_image
from reldn_d2.evaluation.metrics import PerImageRecall
from reldn_d2.evaluation.protocols.protocol import EvaluatedSplit
from tests.builders.commands import Captured, line_of_refusal, run_reldn, usage_error
from tests.builders.own_data import small_party
from tests.builders.tiny_models import REPOSITORY, TINY, TinyConfig, calm_down

SCENES = REPOSITORY / "configs" / "scenes" / "reldn.yaml"
DELTAS = REPOSITORY / "configs" / "ablations"
PAPER_RESULTS = REPOSITORY / "reldn_d2" / "ablation" / "paper_results.yaml"
FULL = "L0+L1+L2+L3"
LOSS = "MODEL.ROI_RELATION_HEAD.LOSS"
TEST = "MODEL.ROI_RELATION_HEAD.TEST"
PAPER = yaml.safe_load(PAPER_RESULTS.read_text())

# Replaces `reldn train` and `reldn evaluate`: records its command, and "trains" and "evaluates" at once, as
# the variable FAKE says.
FAKE = """
import csv, json, os, sys, time
from pathlib import Path

command, *arguments = sys.argv[1:]
python = arguments[arguments.index("--config-file") + 1].endswith(".py")
first = next(i for i, x in enumerate(arguments) if ("=" in x if python else x.isupper() and "." in x))
given = arguments[first:]
options = dict(x.split("=", 1) for x in given) if python else dict(zip(given[::2], given[1::2]))
output = Path(options["train.output_dir" if python else "OUTPUT_DIR"])
name = f"{output.parent.name}/{output.name}"
behaviour = json.loads(os.environ["FAKE"])
with open(os.environ["CALLS"], "a") as calls:
    threads = os.environ["OMP_NUM_THREADS"]
    record = {"run": name, "command": command, "flags": arguments[:first]}
    record |= {"options": options, "threads": threads}
    calls.write(json.dumps(record) + "\\n")
if name in behaviour.get("meet", []):
    (output / "here").touch()
    waited = 0
    while not all((output.parent.parent / other / "here").exists() for other in behaviour["meet"]):
        time.sleep(0.02)
        waited += 1
        if waited > 15000:
            sys.exit("nobody else came")
if name in behaviour.get("hang", []):
    time.sleep(3600)
if name in behaviour.get("fail", []):
    print("it broke\\n ")
    sys.exit(3)
seed = int(options["train.seed" if python else "SEED"])
(output / "config.yaml").write_text(json.dumps({"SEED": seed, "SOLVER": {"BASE_LR": 0.01}}))
if command == "train":
    (output / "last_checkpoint").write_text("model_final.pth")
    (output / "model_final.pth").write_text("weights")
    if name in behaviour.get("no_evaluation", []):
        sys.exit()
if name in behaviour.get("no_results", []):
    sys.exit()
head = "MODEL.ROI_RELATION_HEAD.TEST."
task = options["model.task" if python else head + "TASK"]
folder = output / "inference" / ("reldn_scenes_tiny_test" if python else "reldn_scenes_test") / task
folder.mkdir(parents=True, exist_ok=True)
subset = options["dataloader.evaluator.confusion_subset" if python else head + "CONFUSION_SUBSET"]
suffixes = ["", "_confusable"] if subset == "True" else [""]
protocols = options["dataloader.evaluator.protocols.names" if python else head + "PROTOCOLS"]
protocols = protocols.strip("[]").split(",") if python else eval(protocols)
values = behaviour["values"].get(name, {})
with open(folder / "relation_results.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(("protocol", "metric", "value"))
    for protocol in protocols:
        for suffix in suffixes:
            writer.writerow((protocol + suffix, "always there", 1.0))
    for key, value in values.items():
        writer.writerow((*key.split("/", 1), value))
"""


class Bench:
    """`reldn ablate` with a replacement of the commands of its runs, in its own folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.output, self._calls = folder / "runs", folder / "calls.jsonl"
        self.behaviour: dict[str, Any] = {"values": {}}
        self._monkeypatch = monkeypatch
        script = folder / "fake_reldn.py"
        script.write_text(FAKE)
        monkeypatch.setattr("reldn_d2.ablation.runs._RELDN", (sys.executable, str(script)))
        monkeypatch.setattr("reldn_d2.ablation.jobs._POLL_SECONDS", 0.01)
        monkeypatch.setenv("CALLS", str(self._calls))
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def words(self, *words: str, config: Path = SCENES, table: int = 1, seeds: int = 2) -> list[object]:
        """The words of a command."""
        self._monkeypatch.setenv("FAKE", json.dumps(self.behaviour))
        start = ["ablate", "--table", table, "--config-file", config, "--seeds", seeds]
        return [*start, "--output", self.output, *words]

    def run(self, *words: str, config: Path = SCENES, table: int = 1, seeds: int = 2) -> int:
        return run_reldn(*self.words(*words, config=config, table=table, seeds=seeds))

    def calls(self) -> list[dict[str, Any]]:
        """Commands since the last call of this method."""
        if not self._calls.exists():
            return []
        lines = self._calls.read_text().splitlines()
        self._calls.unlink()
        return [json.loads(line) for line in lines]

    def names(self) -> list[tuple[str, str]]:
        calls = self.calls()
        assert all(("--resume" in call["flags"]) == (call["command"] == "train") for call in calls)
        return [(call["run"], call["command"]) for call in calls]

    def values(self, run: str, **metrics: float) -> None:
        """Sets the results of a run: metrics of protocol reldn_openimages, with R50 for R@50."""
        named = {f"reldn_openimages/{k.replace('R50', 'R@50')}": v for k, v in metrics.items()}
        self.behaviour["values"].setdefault(run, {}).update(named)

    def table(self, number: int = 1) -> list[list[list[str]]]:
        """The tables of the report: header and rows of stripped cells."""
        blocks: list[list[list[str]]] = [[]]
        for line in (self.output / "scenes" / f"table{number}.md").read_text().splitlines():
            if not line.startswith("|"):
                blocks.append([])
            elif not line.startswith("|:"):
                blocks[-1].append([cell.strip() for cell in line.split("|")[1:-1]])
        return [block for block in blocks if block]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


L0_AND_FULL = ("--lines", "L0", FULL)


# --- the paper's numbers


def paper(table: int, line: str) -> dict[str, float]:
    content = PAPER["tables"][table]
    return dict(zip(content["columns"], content["lines"][line]["paper"], strict=True))


@pytest.mark.parametrize(
    ("table", "kind", "score", "rounding"),
    [(1, "wmAP", "score_wtd", 0.011), (2, "wmAP", "score_wtd", 0.02), (3, "wmAP", "score_wtd", 0.011),
     (4, "wmAP", "score_wtd", 0.011), (5, "mAP", "score", 0.011), (6, "mAP", "score", 0.011)],
)  # fmt: skip
def test_the_papers_scores_follow_from_its_other_columns(
    table: int, kind: str, score: str, rounding: float
) -> None:
    for line in PAPER["tables"][table]["lines"]:
        x = paper(table, line)
        assert abs(0.2 * x["R@50"] + 0.4 * x[f"{kind}_rel"] + 0.4 * x[f"{kind}_phr"] - x[score]) < rounding, (
            line
        )


def test_the_papers_tables_agree_with_each_other() -> None:
    predicates = ["at", "on", "holds", "plays", "interacts_with", "wears", "inside_of", "under", "hits"]
    for line in PAPER["tables"][1]["lines"]:
        one, five = paper(1, line), paper(5, line)
        assert one["R@50"] == five["R@50"]
        assert abs(mean(one[p] for p in predicates) - five["mAP_rel"]) < 0.011
        assert abs(mean(one[p] for p in predicates[:7]) - five["mAP_rel_starred"]) < 0.011
    for line in ("L0", FULL):
        two, six = paper(2, line), paper(6, line)
        assert two["R@50"] == six["R@50"]
        for kind in ("rel", "phr"):
            values = [x for name, x in two.items() if name.startswith(f"{kind}_")]
            assert len(values) == 5 and abs(mean(values) - six[f"mAP_{kind}"]) < 0.011
    full = paper(1, FULL)
    assert paper(3, "sem+vis+spt") == full
    assert paper(4, "0.2") == {name: full[name] for name in paper(4, "0.2")}


def test_the_papers_recalls_grow_with_k() -> None:
    for line in PAPER["tables"][8]["lines"]:
        x = paper(8, line)
        for name in x:
            assert x[name] <= x[name.replace("R@50", "R@100")]
            assert x[name] <= x["free_k " + name.split(" ", 1)[1]]
    for line in PAPER["tables"][7]["lines"]:
        x = paper(7, line)
        assert all(
            x[f"{task}20"] <= x[f"{task}50"] <= x[f"{task}100"] for task in ("SGDET", "SGCLS", "PRDCLS")
        )
        assert all(x[f"{t}50"] <= x[f"ng{t}50"] <= x[f"ng{t}100"] for t in ("SGDET", "SGCLS", "PRDCLS"))


def test_the_papers_overall_score_follows_from_the_servers_two() -> None:
    for public, private, overall in PAPER["challenge"][9]["lines"].values():
        assert abs(0.3 * public + 0.7 * private - overall) < 0.0011


@pytest.mark.parametrize("number", range(1, 9))
def test_every_column_is_a_number_that_its_protocol_reports(number: int) -> None:
    names = ["at", "on", "holds", "plays", "interacts with", "wears", "inside of", "under", "hits"]
    # Two men, two guitars, side by side: both kinds of confusion, every predicate.
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [0, 20, 10, 30], [5, 20, 15, 30]], dtype=np.float64)
    relations = np.array([[s, o, p] for p in range(9) for s, o in ((0, 2), (1, 3))])
    truths = {"1": GroundTruthGraph(boxes, np.array([0, 0, 1, 1]), relations)}
    ks = (1, 2, 10, 70)
    table = read_table(number, None, None)
    for name, key in {**table.columns, **table.beside}.items():
        task, protocol, metric = key.split("/", 2)
        protocols = {"reldn": reldn(ks), "reldn_openimages": ablation_protocol(("under", "hits"))}
        plain = protocol.removesuffix("_confusable")
        results = evaluate_graphs(
            truths, {}, task.upper(), [protocols.get(plain, plain)],
            EvaluatedSplit(names), subsets={"confusable": ["1"]}, allow_missing=True,
        )  # fmt: skip
        assert any(fnmatchcase(known, metric) for known in results[protocol].metrics), name


def test_every_table_can_be_made() -> None:
    for number in range(1, 9):
        table = read_table(number, None, None)
        for line in table.lines:
            assert line.config.is_file(), line.config
            assert (DELTAS / f"{line.delta}.yaml").is_file(), line.delta
            assert line.paper.keys() == table.columns.keys()


# --- settings of runs


def test_a_delta_is_its_file_without_base_and_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reldn_d2.model_zoo.config_files.CONFIGS", tmp_path)
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations" / "x.yaml").write_text(
        "_BASE_: a.yaml\nSEED: 7\nMODEL: {RPN: {NMS_THRESH: 0.25}, MASK_ON: True}\nOUTPUT_DIR: b\n"
    )
    words = ["SEED", "7", "MODEL.RPN.NMS_THRESH", "0.25", "MODEL.MASK_ON", "True"]
    assert delta_options(read_delta("x"), "yaml") == words
    with pytest.raises(FileNotFoundError, match=r"has no config 'ablations/y\.yaml'"):
        read_delta("y")


SCENES_CONFIG = load_config(str(SCENES))
WEIGHTS = {"L1": ("CLASS_AGNOSTIC", 1.0), "L2": ("ENTITY_CLASS", 0.5), "L3": ("PREDICATE_CLASS", 0.1)}


@pytest.mark.parametrize("line", PAPER["tables"][1]["lines"])
def test_a_loss_line_switches_on_what_its_name_says(line: str, tmp_path: Path) -> None:
    loss = make_run(SCENES, f"losses/{line}", 1, (), tmp_path).parts.cfg.MODEL.ROI_RELATION_HEAD.LOSS
    assert loss.CROSS_ENTROPY_WEIGHT == 1.0
    for name, (key, weight) in WEIGHTS.items():
        assert (loss[key].WEIGHT > 0) is (name in line.split("+"))
        assert loss[key].WEIGHT in (0, weight)
        assert loss[key].MARGIN == 0.2


@pytest.mark.parametrize(("line", "spatial", "visual"), [
    ("sem", False, (False, False, False)),
    ("sem+SPO", False, (True, False, False)),
    ("sem+vis", False, (True, True, True)),
    ("sem+vis+spt", True, (True, True, True)),
])  # fmt: skip
def test_a_module_line_switches_on_what_its_name_says(
    line: str, spatial: bool, visual: tuple[bool, ...], tmp_path: Path
) -> None:
    run = make_run(SCENES, f"modules/{line}", 1, (), tmp_path)
    head = run.parts.cfg.MODEL.ROI_RELATION_HEAD
    assert head.SEMANTIC.ENABLED and bool(head.SPATIAL.ENABLED) is spatial
    found = (head.VISUAL.FUSED, head.VISUAL.SUBJECT_SKIP, head.VISUAL.OBJECT_SKIP)
    assert found == visual
    assert run.parts.has_training == any((spatial, *visual))


@pytest.mark.parametrize("line", PAPER["tables"][4]["lines"])
def test_a_margin_line_sets_all_margins(line: str, tmp_path: Path) -> None:
    loss = make_run(SCENES, f"margins/{line}", 1, (), tmp_path).parts.cfg.MODEL.ROI_RELATION_HEAD.LOSS
    assert [loss[key].MARGIN for key, _ in WEIGHTS.values()] == [float(line)] * 3
    assert [loss[key].WEIGHT for key, _ in WEIGHTS.values()] == [1.0, 0.5, 0.1]


def test_the_full_model_has_one_folder_in_all_tables(tmp_path: Path) -> None:
    def folder(delta: str, *options: str) -> str:
        return str(make_run(SCENES, delta, 2, options, tmp_path).folder.relative_to(tmp_path))

    full = f"scenes/{FULL}/seed2"
    assert [folder(x) for x in ("losses/" + FULL, "modules/sem+vis+spt", "margins/0.2")] == [full] * 3
    assert folder("margins/0.5") == "scenes/0.5/seed2" and folder("losses/L0") == "scenes/L0/seed2"
    # It is another folder if the config has other margins.
    other = (f"{LOSS}.ENTITY_CLASS.MARGIN", "0.3")
    assert folder("margins/0.2", *other) == "scenes/0.2/seed2" and folder("losses/" + FULL, *other) == full


HEAD = "MODEL.ROI_RELATION_HEAD"
NO_PIXELS = [f"{HEAD}.VISUAL.FUSED", "False", f"{HEAD}.VISUAL.OBJECT_SKIP", "False"]


@pytest.mark.parametrize(("switches", "trains"), [
    ({"SPATIAL.ENABLED": True, "SEMANTIC.LEARNABLE": False}, True),
    ({"VISUAL.SUBJECT_SKIP": True, "SEMANTIC.LEARNABLE": False}, True),
    ({"SEMANTIC.LEARNABLE": True}, True),
    ({"SEMANTIC.LEARNABLE": True, "SEMANTIC.ENABLED": False}, False),
    ({}, False),
])  # fmt: skip
def test_a_learnable_table_needs_training(switches: dict[str, bool], trains: bool) -> None:
    off = {"VISUAL.SUBJECT_SKIP": False, "SPATIAL.ENABLED": False}
    options = [text for key, value in {**off, **switches}.items() for text in (f"{HEAD}.{key}", str(value))]
    run = make_run(SCENES, "losses/L0", 1, [*NO_PIXELS, *options], Path("x"))
    assert run.parts.has_training is trains


# A config in Python gets the same settings under its own keys.
LAZY = REPOSITORY / "tests" / "builders" / "tiny_lazy.py"


@pytest.mark.parametrize(
    "delta", sorted(str(x.relative_to(DELTAS))[: -len(".yaml")] for x in DELTAS.rglob("*.yaml"))
)
def test_a_delta_means_the_same_in_both_kinds_of_config(delta: str, tmp_path: Path) -> None:
    yaml_run, lazy_run = make_run(SCENES, delta, 5, TINY, tmp_path), make_run(LAZY, delta, 5, (), tmp_path)
    models = [run.parts.model() for run in (yaml_run, lazy_run)]
    trained = [{name for name, x in model.named_parameters() if x.requires_grad} for model in models]
    assert models[0].state_dict().keys() == models[1].state_dict().keys() and trained[0] == trained[1]
    assert yaml_run.parts.has_training == lazy_run.parts.has_training == bool(trained[0])
    terms = [model.relation_head.contrastive_losses.terms for model in models]
    described = [{name: (x.weight, x.margin) for name, x in term.items() if x.weight} for term in terms]
    assert described[0] == described[1]
    assert lazy_run.parts.settings()["train.seed"] == "5"


def test_runs_of_a_python_config_are_made_and_found_again(bench: Bench, capsys: Captured) -> None:
    for options, differs in (([], False), ([], False), (["optimizer.lr=0.5"], True)):
        words = bench.words("--lines", "L0", *options, config=LAZY, seeds=1)
        if differs:
            assert "optimizer.lr was 0.01, now 0.5" in line_of_refusal(capsys, *words)
        else:
            assert run_reldn(*words) == 0
    (call,) = bench.calls()
    assert call["run"] == "L0/seed1" and call["options"]["train.seed"] == "1"
    assert call["options"]["model.relation_head.contrastive_losses.terms.entity_class.weight"] == "0.0"


def test_runs_on_own_data_are_looked_for_under_its_names(tmp_path: Path) -> None:
    data = register_data_file(small_party(tmp_path))
    run = make_run(SCENES, "losses/L0", 1, [], tmp_path / "runs", data)
    assert run.parts.train_datasets == ("party_train",) and run.parts.test_datasets == ("party_test",)
    assert run.results_folder("sgdet").parts[-3:] == ("inference", "party_test", "sgdet")
    assert dict(run.parts.class_counts())["predicate_classes"][1] == len(data.predicate_classes)


def test_runs_lie_in_a_folder_named_by_the_config() -> None:
    assert config_name(Path("configs/scenes/reldn.yaml")) == "scenes"
    assert config_name(Path("configs/vg/reldn_vgg16.yaml")) == "vg_reldn_vgg16"


def test_the_lines_delta_is_above_options_and_these_are_above_the_config(bench: Bench) -> None:
    assert bench.run("--lines", "L0+L1", "SOLVER.MAX_ITER", "7", f"{LOSS}.ENTITY_CLASS.WEIGHT", "9.0") == 0
    train, _ = bench.calls()
    assert (
        train["options"]["SOLVER.MAX_ITER"] == "7"
        and train["options"][f"{LOSS}.ENTITY_CLASS.WEIGHT"] == "0.0"
    )
    assert train["options"]["SEED"] == "1" and train["options"][f"{TEST}.TASK"] == "sgdet"
    assert train["flags"] == ["--resume", "--config-file", str(SCENES), "--num-gpus", "1"]
    assert train["threads"] == str(len(os.sched_getaffinity(0)))


# --- which runs are made, and which are kept


def test_every_line_is_trained_with_every_seed_and_only_once(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run(*L0_AND_FULL) == 0
    runs = ["L0/seed1", "L0/seed2", f"{FULL}/seed1", f"{FULL}/seed2"]
    assert bench.names() == [(run, "train") for run in runs]
    assert "4 runs, 0 of them finished" in capsys.readouterr().out
    assert bench.run(*L0_AND_FULL) == 0
    assert bench.names() == []
    out = capsys.readouterr().out
    assert "4 runs, 4 of them finished" in out and "started" not in out
    # Other tables find these runs. A third seed is one more training.
    assert bench.run(table=2) == 0 and bench.run("--lines", "0.2", table=4) == 0
    assert bench.names() == []
    assert bench.run("--lines", "L0", seeds=3) == 0
    assert bench.names() == [("L0/seed3", "train")]


def test_missing_evaluations_of_a_training_are_made(bench: Bench) -> None:
    bench.behaviour["no_evaluation"] = ["L0/seed1"]
    assert bench.run("--lines", "L0", seeds=1) == 0
    train, evaluation = bench.calls()
    assert (train["command"], evaluation["command"]) == ("train", "evaluate")
    folder = bench.output / "scenes" / "L0" / "seed1"
    assert evaluation["options"]["MODEL.WEIGHTS"] == str(folder / "model_final.pth")
    assert evaluation["options"]["OUTPUT_DIR"] == str(folder)


def test_results_without_a_protocol_of_the_table_are_made_again(bench: Bench) -> None:
    assert bench.run("--lines", "L0", seeds=1) == 0
    results = (
        bench.output / "scenes" / "L0" / "seed1" / "inference" / "reldn_scenes_test" / "sgdet" / RESULTS_FILE
    )
    lines = [line for line in results.read_text().splitlines() if "confusable" not in line]
    results.write_text("\n".join([*lines, ""]))
    bench.calls()
    assert bench.run("--lines", "L0", seeds=1) == 0
    assert bench.names() == []
    assert bench.run("--lines", "L0", table=2, seeds=1) == 0
    assert bench.names() == [("L0/seed1", "evaluate")]


def test_results_of_an_earlier_checkpoint_are_made_again(bench: Bench) -> None:
    assert bench.run("--lines", "L0", seeds=1) == 0
    bench.calls()
    weights = bench.output / "scenes" / "L0" / "seed1" / "model_final.pth"
    os.utime(weights, (time.time() + 60,) * 2)
    bench.behaviour["no_results"] = ["L0/seed1"]
    assert bench.run("--lines", "L0", seeds=1) == 1
    assert bench.names() == [("L0/seed1", "evaluate")]


def test_a_table_of_three_tasks_evaluates_each(bench: Bench) -> None:
    assert bench.run("--lines", "L0_VGG16", table=7, seeds=1) == 0
    calls = bench.calls()
    assert [call["options"][f"{TEST}.TASK"] for call in calls] == ["sgdet", "sgcls", "prdcls"]
    assert [call["command"] for call in calls] == ["train", "evaluate", "evaluate"]
    assert bench.run("--lines", "L0_VGG16", table=7, seeds=1) == 0
    assert bench.calls() == []


def test_lines_that_are_the_same_model_are_one_run(bench: Bench) -> None:
    """On one config, the two backbones of table 7 are one."""
    assert bench.run("--lines", "RelDN_VGG16", "RelDN_X101FPN", "--jobs", "2", table=7, seeds=1) == 0
    assert bench.names() == [(f"{FULL}/seed1", command) for command in ("train", "evaluate", "evaluate")]


def test_a_line_with_nothing_to_train_is_evaluated_once(bench: Bench) -> None:
    assert bench.run("--lines", "sem", table=3, seeds=3) == 0
    (call,) = bench.calls()
    assert call["run"] == "sem/seed1" and call["command"] == "evaluate"
    assert "MODEL.WEIGHTS" not in call["options"]
    assert bench.run("--lines", "sem", table=3, seeds=3) == 0
    assert bench.calls() == []


def pretend_finished(bench: Bench, run: str, config: dict[str, Any] | None) -> Path:
    folder = bench.output / "scenes" / run
    results = folder / "inference" / "reldn_scenes_test" / "sgdet"
    results.mkdir(parents=True)
    (folder / "model_final.pth").touch()
    (folder / "last_checkpoint").touch()
    (results / RESULTS_FILE).write_text("protocol,metric,value\nreldn_openimages,R@50,12.5\n")
    if config is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_runs_of_the_same_config_are_taken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.output / "detector").mkdir(parents=True)
    config: dict[str, Any] = yaml.safe_load(
        make_run(SCENES, "losses/L0", 1, (), bench.output).parts.cfg.dump()
    )
    # A file under another name, keys that change no number, a key of another release, a key of this one.
    config["MODEL"]["WEIGHTS"] = str(bench.output / "detector" / ".." / "detector" / "model.pth")
    config["MODEL"]["DEVICE"], config["DATALOADER"]["NUM_WORKERS"], config["GONE"] = "cuda", 9, 1
    config["MODEL"]["ROI_RELATION_HEAD"]["TEST"].update(TASK="prdcls", PROTOCOLS=["motifs"])
    del config["MODEL"]["ROI_RELATION_HEAD"]["WEIGHTS"]
    pretend_finished(bench, "L0/seed1", config)
    monkeypatch.chdir(bench.output)
    assert bench.run("--lines", "L0", "MODEL.WEIGHTS", "detector/model.pth", seeds=1) == 0
    assert bench.calls() == []
    assert bench.table()[0] == [["line", "seeds", "R@50"], ["L0", "1", "12.50"]]


@pytest.mark.parametrize(("key", "value"), [
    ("SOLVER.BASE_LR", 0.5), ("SEED", 2), ("MODEL.WEIGHTS", "another.pth"), ("TEST.DETECTIONS_PER_IMAGE", 7),
    ("DATASETS.DETECTION_FILES_TRAIN", ["x.npz"]), (f"{LOSS}.ENTITY_CLASS.WEIGHT", 0.25),
    (f"{TEST}.TOP_K", 101),
])  # fmt: skip
def test_runs_of_another_config_are_refused(bench: Bench, key: str, value: Any, capsys: Captured) -> None:
    config: dict[str, Any] = yaml.safe_load(
        make_run(SCENES, f"losses/{FULL}", 1, (), bench.output).parts.cfg.dump()
    )
    node = config
    *path, last = key.split(".")
    for name in path:
        node = node[name]
    node[last] = value
    pretend_finished(bench, f"{FULL}/seed1", config)
    message = line_of_refusal(capsys, *bench.words(*L0_AND_FULL))
    assert re.search(f"{key} was .*, now .*delete the folder, or choose another --output", message)
    assert str(bench.output / "scenes" / FULL / "seed1") in message
    # No run is started if one of them is refused.
    assert bench.calls() == []


def test_many_differences_are_counted(bench: Bench, capsys: Captured) -> None:
    config = {
        "SOLVER": {"BASE_LR": 1, "GAMMA": 1, "MOMENTUM": 1, "MAX_ITER": 1, "NESTEROV": 1.5, "WEIGHT_DECAY": 1}
    }
    pretend_finished(bench, "L0/seed1", config)
    message = line_of_refusal(capsys, *bench.words("--lines", "L0"))
    assert "; and 1 more. Change the config back" in message
    assert message.count(" was ") == 5 + 1  # and "was made with another config"


def test_weights_without_a_config_are_refused(bench: Bench, capsys: Captured) -> None:
    pretend_finished(bench, "L0/seed2", None)
    message = line_of_refusal(capsys, *bench.words("--lines", "L0"))
    assert "seed2 has results but no config.yaml" in message


def test_a_failed_start_does_not_block_the_next_one(bench: Bench) -> None:
    folder = bench.output / "scenes" / "L0" / "seed1"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("{SEED: 5}")
    assert bench.run("--lines", "L0", seeds=1) == 0
    assert bench.names() == [("L0/seed1", "train")]


# --- failures


def test_a_failed_run_stops_no_other(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.behaviour["fail"] = ["L0/seed1", "L0/seed2"]
    bench.values(f"{FULL}/seed1", R50=40.0)
    assert bench.run(*L0_AND_FULL) == 1
    assert len(bench.calls()) == 4
    assert bench.table()[0][1:] == [["L0", "0", "–"], [FULL, "2", "40.00"]]
    captured = capsys.readouterr()
    log = bench.output / "scenes" / "L0" / "seed1" / LOG_FILE
    assert (
        f"scenes, L0, seed 1: status 3: it broke; see {log}" in captured.err and "it broke" in log.read_text()
    )
    assert captured.out.count("started") == 4 and captured.out.count("finished in") == 2
    # After the repair only the failed runs are made.
    bench.behaviour["fail"] = []
    bench.values("L0/seed1", R50=30.0)
    assert bench.run(*L0_AND_FULL) == 0
    assert bench.names() == [("L0/seed1", "train"), ("L0/seed2", "train")]


def test_a_run_that_leaves_no_numbers_has_failed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.behaviour["no_results"] = ["L0/seed2"]
    assert bench.run("--lines", "L0") == 1
    assert [run for run, _ in bench.names()] == ["L0/seed1", "L0/seed2", "L0/seed2"]
    assert "seed 2: no numbers of reldn_openimages for sgdet were written" in capsys.readouterr().err


def test_an_interrupt_stops_what_runs_and_keeps_what_is_finished(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    bench.behaviour["hang"] = ["L0/seed2"]
    started = bench.output / "scenes" / "L0" / "seed2" / LOG_FILE
    children: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            children.append(self)

    def interrupt(seconds: float) -> None:
        real_sleep(seconds)
        if started.exists():
            raise KeyboardInterrupt

    real_sleep = time.sleep
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    monkeypatch.setattr(time, "sleep", interrupt)
    begin = time.perf_counter()
    assert bench.run("--lines", "L0", seeds=3) == 130
    said = "interrupted: finished runs are kept; the same command continues\n"
    assert capsys.readouterr().err == said
    assert time.perf_counter() - begin < 1800
    assert [child.returncode for child in children[:1]] == [0] and children[-1].returncode not in (None, 0)
    monkeypatch.setattr(time, "sleep", real_sleep)
    bench.calls()
    bench.behaviour["hang"] = []
    assert bench.run("--lines", "L0", seeds=3) == 0
    assert [run for run, _ in bench.names()] == ["L0/seed2", "L0/seed3"]


def test_a_run_that_another_call_makes_is_left_alone(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bench.output / "scenes" / "L0" / "seed1"
    folder.mkdir(parents=True)
    with (folder / LOG_FILE).open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        # The training of the other call also holds the lock, even after that call was killed.
        training = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=log)
    assert bench.run("--lines", "L0") == 1
    assert [run for run, _ in bench.names()] == ["L0/seed2"]
    assert "seed 1: another process is making this run" in capsys.readouterr().err
    training.communicate(b"\n")
    assert bench.run("--lines", "L0") == 0


def test_runs_side_by_side_share_the_cores(bench: Bench) -> None:
    # Each run waits for the other one.
    bench.behaviour["meet"] = ["L0/seed1", "L0/seed2"]
    assert bench.run("--lines", "L0", "--jobs", "2", seeds=3) == 0
    assert {call["threads"] for call in bench.calls()} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["L9"], "table 1 has no line L9: choose --lines from L0, L0+L1, "),
        (["DATASETS.TEST", "('a','b')"], "tests on 2 data sets: set DATASETS.TEST"),
        (["--config-file", "nowhere.yaml"], "'nowhere.yaml' does not exist"),
        (["--weights", "nowhere.pth"], "--weights nowhere.pth: there is no such file or folder"),
        (["SOLVER.BASE_LR"], "the override SOLVER.BASE_LR has no value"),
        (["--jobs", "1", "SOLVER.BASE_RL", "1"], "'SOLVER.BASE_RL' is no key of the config: did you mean"),
    ],
)
def test_wrong_input_is_named_before_anything_runs(
    bench: Bench, words: list[str], message: str, capsys: Captured
) -> None:
    assert message in line_of_refusal(capsys, *bench.words("--lines", "L0", *words))
    assert bench.calls() == []


@pytest.mark.parametrize("words", [
    ["--table", "10"], ["--table", "1", "--seeds", "0"], ["--table", "1", "--jobs", "0"], ["--table", "9"],
    ["--table", "1", "--num-gpus", "0"],
    ["--table", "1", "--scores", "RelDN=0.1,0.2"], ["--table", "9", "--scores", "RelDN=32,33"],
    ["--table", "9", "--scores", "RelDN=0.3"],
])  # fmt: skip
def test_wrong_usage_exits_with_status_2(words: list[str], capsys: Captured) -> None:
    usage_error(capsys, "ablate", *words)


def test_the_commands_of_the_runs_get_weights_and_own_modules(bench: Bench, tmp_path: Path) -> None:
    module, weights = tmp_path / "own.py", tmp_path / "detector.pth"
    module.write_text("")
    weights.touch()
    options = ("--import", str(module), "--weights", str(weights), "--num-gpus", "2")
    assert bench.run("--lines", "L0", *options, "SOLVER.MAX_ITER", "7", seeds=1) == 0
    (train,) = bench.calls()
    assert train["flags"][3:] == ["--num-gpus", "2", "--import", str(module)]
    assert train["options"]["SOLVER.MAX_ITER"] == "7"
    assert train["options"]["MODEL.WEIGHTS"] == str(weights)


# --- tables


def test_means_deviations_and_paired_differences_counted_by_hand(bench: Bench) -> None:
    for seed, (l0, full) in enumerate([(10.0, 13.0), (20.0, 21.0), (60.0, 65.0)], start=1):
        bench.values(f"L0/seed{seed}", R50=l0)
        bench.values(f"{FULL}/seed{seed}", R50=full)
    bench.values("L0/seed1", wmAP_rel=5.0)
    assert bench.run(*L0_AND_FULL, seeds=3) == 0
    measured, published, differences = bench.table()
    # (20² + 10² + 30²) / 2 = 700 and (20² + 12² + 32²) / 2 = 784
    assert measured == [
        ["line", "seeds", "R@50", "wmAP_rel"],
        ["L0", "3", "30.00 ± 26.46", "5.00"],
        [FULL, "3", "33.00 ± 28.00", "–"],
    ]
    assert published == [["line", "R@50", "wmAP_rel"], ["L0", "74.67", "34.63"], [FULL, "74.94", "35.54"]]
    # 3, 1 and 5
    assert differences == [["line", "seeds", "R@50"], [f"{FULL} − L0", "3", "+3.00 ± 2.00"]]
    text = (bench.output / "scenes" / "table1.md").read_text()
    assert "trained on reldn_scenes_train, tested on reldn_scenes_test" in text
    assert "The paper's numbers: OpenImages VRD, mini training set" in text
    assert "No run has a number for: wmAP_phr, score_wtd, at, on, holds" in text

    content = json.loads((bench.output / "scenes" / "table1.json").read_text())
    r50 = content["lines"]["L0"]["measured"]["R@50"]
    assert r50["seeds"] == {"1": 10.0, "2": 20.0, "3": 60.0} and r50["mean"] == 30.0
    assert r50["std"] == pytest.approx(700**0.5) and content["lines"]["L0"]["paper"]["hits"] == 55.40
    assert content["lines"]["L0"]["measured"]["wmAP_rel"]["std"] is None


def test_differences_are_of_seeds_that_both_lines_have(bench: Bench) -> None:
    for seed, l0 in ((1, 1.0), (2, 50.0), (3, 3.0)):
        bench.values(f"L0/seed{seed}", R50=l0)
    for seed, full in ((1, 4.0), (2, 9.0), (3, 7.0)):
        bench.values(f"{FULL}/seed{seed}", R50=full)
    bench.behaviour["fail"] = [f"{FULL}/seed2"]
    assert bench.run(*L0_AND_FULL, seeds=3) == 1
    assert bench.table()[2][1] == [f"{FULL} − L0", "2", "+3.50 ± 0.71"]


def test_a_table_without_l0_has_no_differences(bench: Bench) -> None:
    bench.values("0.1/seed1", R50=1.0)
    assert bench.run("--lines", "0.1", table=4, seeds=1) == 0
    assert len(bench.table(4)) == 2


def test_a_line_is_compared_with_l0_of_its_own_config(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The third line of table 7 has another backbone, which has no L0 line."""
    for folder, name in (("one", "reldn.yaml"), ("two", "reldn_x.yaml")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(f"_BASE_: {SCENES}\n")
    content = yaml.safe_load(PAPER_RESULTS.read_text())
    lines = content["tables"][7]["lines"]
    lines["L0_VGG16"]["config"] = lines["RelDN_VGG16"]["config"] = str(tmp_path / "one" / "reldn.yaml")
    lines["RelDN_X101FPN"]["config"] = str(tmp_path / "two" / "reldn_x.yaml")
    changed = tmp_path / "paper.yaml"
    changed.write_text(yaml.safe_dump(content, sort_keys=False))
    monkeypatch.setattr("reldn_d2.ablation.tables._PAPER_RESULTS", changed)
    bench.behaviour["values"] = {"L0/seed1": {"motifs/R@20": 4.0}, f"{FULL}/seed1": {"motifs/R@20": 6.0}}
    monkeypatch.setenv("FAKE", json.dumps(bench.behaviour))
    assert run_reldn("ablate", "--table", 7, "--seeds", 1, "--output", bench.output) == 0
    assert {path.name for path in bench.output.iterdir()} == {
        "one",
        "two_reldn_x",
        "table7.md",
        "table7.json",
    }
    text = (bench.output / "table7.md").read_text()
    assert "RelDN_VGG16 − L0_VGG16" in text and "RelDN_X101FPN −" not in text
    assert "Runs of `one`: trained on" in text and "Runs of `two_reldn_x`: trained on" in text


def test_the_best_k_is_taken_where_the_paper_chose_one() -> None:
    evaluations = {
        "sgdet": {"reldn": {"rel_k1_R@50": 3.0, "rel_k10_R@50": 5.0, "rel_k70_R@50": 4.0, "phr_k1_R@50": 9.0}}
    }
    assert value_of("sgdet/reldn/rel_k*_R@50", evaluations) == 5.0
    assert value_of("sgdet/reldn/rel_k1_R@50", evaluations) == 3.0
    assert np.isnan(value_of("sgdet/reldn/rel_k1_R@100", evaluations))
    assert np.isnan(value_of("sgcls/reldn/rel_k1_R@50", evaluations))


def test_undefined_numbers_are_none(bench: Bench) -> None:
    bench.behaviour["values"] = {"L0/seed1": {"reldn_openimages/R@50": "", "reldn_openimages/wmAP_rel": 1.0}}
    assert bench.run("--lines", "L0", seeds=1) == 0
    assert bench.table()[0][0] == ["line", "seeds", "wmAP_rel"]


def test_scores_of_the_test_server(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "ablate",
        "--table",
        "9",
        "--scores",
        "RelDN=0.5,0.3",
        "Seiji=0,1",
        "--output",
        str(bench.output),
    ]
    assert run_reldn(*words) == 0
    rows = [
        line.split("|")[1:-1] for line in (bench.output / "table9.md").read_text().splitlines() if "|" in line
    ]
    cells = [[cell.strip() for cell in row] for row in rows[2:]]
    assert cells == [
        ["Seiji", "0.000", "1.000", "0.700", "0.332", "0.285", "0.299"],
        ["RelDN", "0.500", "0.300", "0.360", "0.320", "0.332", "0.328"],
    ]
    assert "0.360" in capsys.readouterr().out
    message = line_of_refusal(capsys, "ablate", "--table", "9", "--scores", "Other=0.5,0.3")
    assert "table 9 has no line Other" in message


# --- intervals


def fake_counts(
    folder: Path, name: str, metric: str, truths: Sequence[int], hits: Sequence[Sequence[float]]
) -> list[Any]:
    """Runs of a line whose evaluation counted `hits` (one row each) in images of `truths` relationships."""
    runs = []
    for seed, row in enumerate(hits, start=1):
        run = Run(seed, folder / f"seed{seed}", SCENES, (), parts_of(SCENES_CONFIG))
        counts = PerImageRecall(
            tuple(map(str, range(len(truths)))), np.array(truths), {metric: np.array(row)}
        )
        where = run.results_folder("sgdet")
        where.mkdir(parents=True)
        save_per_image(where / PER_IMAGE_FILE, {name: counts}, dataset_name="reldn_scenes_test", task="SGDET")
        runs.append(run)
    return runs


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.integers(0, 4), *[st.integers(0, 4)] * 4), min_size=1, max_size=4),
    st.sampled_from([("motifs", "motifs", "R@50"), ("reldn_openimages", "reldn_openimages", "R@50"),
                     ("confusion", "confusion_proximity", "proximal_right")]),
)  # fmt: skip
def test_pooled_differences_are_the_means_over_seeds(
    tmp_path_factory: pytest.TempPathFactory, images: list[tuple[int, ...]], names: tuple[str, str, str]
) -> None:
    protocol, saved, metric = names
    folder = tmp_path_factory.mktemp("runs")
    truths = [max(image) for image in images]
    hits = np.array([image[1:] for image in images], dtype=np.float64).T
    ours = fake_counts(folder / "ours", saved, metric, truths, hits[:2])
    base = fake_counts(folder / "base", saved, metric, truths, hits[2:])
    found = pooled_differences({"x": f"sgdet/{protocol}/{metric}"}, ours, base)
    counted = [i for i, n in enumerate(truths) if n]
    if not counted:
        assert found == {}
        return

    def recall(row: Any) -> float:
        if protocol == "motifs":
            return mean(100.0 * row[i] / truths[i] for i in counted)
        return 100.0 * sum(row[i] for i in counted) / sum(truths)

    expected = mean(recall(a) for a in hits[:2]) - mean(recall(b) for b in hits[2:])
    assert found["x"].mean == pytest.approx(expected, abs=1e-9)
    assert found["x"].low - 1e-9 <= expected <= found["x"].high + 1e-9 or len(counted) > 1


def test_intervals_are_of_what_all_runs_have_counted(tmp_path: Path) -> None:
    ours = fake_counts(tmp_path / "a", "motifs", "R@50", [2, 2], [[1, 2], [2, 2]])
    base = fake_counts(tmp_path / "b", "motifs", "R@50", [2, 2], [[0, 1], [1, 1]])
    keys = {"recall": "sgdet/motifs/R@50", "AP": "sgdet/openimages/AP_rel/on", "other": "sgcls/motifs/R@50"}
    found = pooled_differences(keys, ours, base)
    assert found.keys() == {"recall"}
    # Either image gains one of two in both runs, so every draw gains 50 points.
    assert (found["recall"].mean, found["recall"].low, found["recall"].high) == (50.0, 50.0, 50.0)
    (ours[1].results_folder("sgdet") / PER_IMAGE_FILE).unlink()
    assert pooled_differences(keys, ours, base) == {}


def test_runs_on_different_images_can_not_be_pooled(tmp_path: Path) -> None:
    ours = fake_counts(tmp_path / "a", "motifs", "R@50", [2, 2], [[1, 2]])
    ours += fake_counts(tmp_path / "b", "motifs", "R@50", [2], [[1]])
    with pytest.raises(ValueError, match=r"different images \(motifs\)"):
        pooled_differences({"x": "sgdet/motifs/R@50"}, ours, ours)


def test_intervals_stand_below_the_differences(bench: Bench) -> None:
    for run in ("L0/seed1", f"{FULL}/seed1"):
        bench.values(run, R50=50.0, wmAP_rel=1.0)
    assert bench.run(*L0_AND_FULL, seeds=1) == 0
    for line, hits in (("L0", [0, 2]), (FULL, [1, 4])):
        run = make_run(SCENES, f"losses/{line}", 1, (), bench.output)
        counts = PerImageRecall(("a", "b"), np.array([2, 4]), {"R@50": np.array(hits)})
        path = run.results_folder("sgdet") / PER_IMAGE_FILE
        save_per_image(path, {"reldn_openimages": counts}, dataset_name="reldn_scenes_test", task="SGDET")
    assert bench.run(*L0_AND_FULL, seeds=1) == 0
    # Half of each image's relationships are found, so every draw gives the same.
    assert bench.table()[3] == [["line", "R@50"], [f"{FULL} − L0", "+50.00 to +50.00"]]


# --- the real commands


def test_a_table_of_real_runs(
    tiny_config: TinyConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    detector = build_model(tiny_config(file="detector.yaml"))
    calm_down(detector)
    RelationCheckpointer(detector, str(tmp_path)).save("detector")
    commands = []

    class InProcess:
        """Runs a command in this process, because starting Python takes longer than the command."""

        def __init__(self, command: list[str], **_: Any) -> None:
            commands.append(command)
            assert command[:3] == [sys.executable, "-m", "reldn_cli"]
            self._status = main(command[3:])

        def poll(self) -> int:
            return self._status

    options = [*TINY, "SOLVER.MAX_ITER", "1", "MODEL.WEIGHTS", str(tmp_path / "detector.pth")]
    options += ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
    words = ["ablate", "--table", 3, "--config-file", SCENES, "--seeds", 2, "--output", tmp_path / "runs"]
    words += ["--lines", "sem", "sem+SPO", *options]
    with monkeypatch.context() as patch:
        stand_in = SimpleNamespace(Popen=InProcess, STDOUT=subprocess.STDOUT)
        patch.setattr("reldn_d2.ablation.jobs.subprocess", stand_in)
        patch.setattr("reldn_d2.ablation.jobs._POLL_SECONDS", 0.0)
        assert run_reldn(*words) == 0
    assert [(c[3], "--resume" in c) for c in commands] == [
        ("evaluate", False),
        ("train", True),
        ("train", True),
    ]
    runs = [tmp_path / "runs" / "scenes" / run for run in ("sem/seed1", "sem+SPO/seed1", "sem+SPO/seed2")]
    states = [torch.load(run / "model_final.pth", weights_only=True)["model"] for run in runs[1:]]
    score = "relation_head.pair_classifier.visual.score.3.weight"
    assert not torch.equal(states[0][score], states[1][score])
    assert not any("spatial" in name for name in states[0])

    def numbers(run: Path, protocol: str, metric: str) -> float:
        path = run / "inference" / "reldn_scenes_tiny_test" / "sgdet" / RESULTS_FILE
        with path.open(newline="") as file:
            (value,) = [
                r["value"] for r in csv.DictReader(file) if (r["protocol"], r["metric"]) == (protocol, metric)
            ]
        return float(value)

    content = json.loads((tmp_path / "runs" / "scenes" / "table3.json").read_text())["lines"]
    for name, protocol, metric in (
        ("R@50", "reldn_openimages", "R@50"), ("instance right", "confusion", "entity_instance_right"),
    ):  # fmt: skip
        values = [numbers(run, protocol, metric) for run in runs]
        assert content["sem"]["measured"][name]["mean"] == pytest.approx(values[0])
        assert content["sem+SPO"]["measured"][name]["std"] == pytest.approx(stdev(values[1:]))

    # A second call has nothing to do.
    assert run_reldn(*words) == 0
    assert "3 runs, 3 of them finished" in capsys.readouterr().out
    assert len(commands) == 3


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("scenes/detector.yaml", [], "is a config of a detector: give a config of RelDN as --config-file"),
        ("scenes/reldn.yaml", ["SOLVER.MAXITER", "1"], "MAXITER"),
        ("lazy/scenes_reldn.py", ["train.max_itre=1"], "no such key: train.max_itre"),
    ],
)
def test_configs_that_cannot_be_ablated_are_refused_before_anything_runs(
    config: str, options: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        make_run(REPOSITORY / "configs" / config, "losses/L0", 1, options, tmp_path)
