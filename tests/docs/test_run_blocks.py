"""The blocks of the documentation with the mark `run` do what their pages promise, in a reduced form.

The blocks of a page that name the same workspace run one after the other, in one folder and with the same
variables, as a reader runs them.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from reldn_d2.checkpoint import read_checkpoint
from reldn_d2.data import load_detections_into_dataset
from reldn_d2.engine import load_config
from reldn_d2.evaluation import load_predictions
from reldn_d2.modeling import RelDN
from reldn_d2.modeling.acceleration import RegionPooler
from reldn_d2.scene_graphs import read_graphs
from tests.builders.commands import run_reldn
from tests.builders.tiny_models import REPOSITORY, make_input, make_model

from .blocks import Block, blocks
from .conftest import CONFIGS, Variables
from .reduced import reduced, reduced_text

Check = Callable[[Path, Variables], None]
CHECKS: dict[tuple[str, str], Check] = {}


def promises(page: str, workspace: str) -> Callable[[Check], Check]:
    """Registers the check of what the blocks of a page leave in a workspace."""

    def register(check: Check) -> Check:
        CHECKS[page, workspace] = check
        return check

    return register


def _groups() -> dict[tuple[str, str], list[Block]]:
    """Page and workspace -> its blocks in order: those that run, and the files that the page shows."""
    found: dict[tuple[str, str], list[Block]] = {}
    for block in blocks():
        if block.kind == "run" and not block.detail.endswith(".py"):
            found.setdefault((block.page, block.detail), []).append(block)
    return found


GROUPS = _groups()


def files_shown_on(page: str) -> dict[str, str]:
    """Name -> contents of the files that a page shows."""
    return {block.detail: block.text for block in blocks() if block.page == page and block.kind == "file"}


def test_every_page_with_commands_has_a_check() -> None:
    assert set(CHECKS) == set(GROUPS)


@pytest.mark.parametrize(("page", "workspace"), GROUPS, ids=[": ".join(group) for group in GROUPS])
def test_the_blocks_run_and_keep_the_promises_of_their_page(
    page: str, workspace: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables: Variables = request.getfixturevalue(f"workspace_{workspace.replace(' ', '_')}")
    monkeypatch.chdir(tmp_path)
    for name, text in files_shown_on(page).items():
        (tmp_path / name).write_text(text)
    for block in GROUPS[page, workspace]:
        run(block, variables)
    CHECKS[page, workspace](tmp_path, variables)


def run(block: Block, variables: Variables) -> None:
    """Runs a block in the working directory."""
    if block.language == "python":
        code = "\n" * block.line + reduced_text(block.text)  # so that a traceback names the line of the page
        exec(compile(code, str(REPOSITORY / block.page), "exec"), variables)
        return
    for name, *words in block.commands():
        assert name == "reldn", f"{block}: no other command can run here"
        assert run_reldn(*reduced(words)) == 0, f"{block}: {words}"


def assert_files(folder: Path, *names: str) -> None:
    missing = [name for name in names if not list(folder.glob(name))]
    assert not missing, sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))


def results(folder: Path) -> list[str]:
    """The data set and the task of each evaluation in an inference folder."""
    return sorted(str(file.parent.relative_to(folder)) for file in folder.glob("*/*/relation_results.csv"))


def assert_is_a_run(folder: Path) -> None:
    assert_files(folder, "model_final.pth", "config.yaml", "log.txt", "metrics.json", "summary.md")


@promises("README.md", "use")
def own_photo(folder: Path, variables: Variables) -> None:
    assert_files(folder / "predictions", "sample.png", "sample.json", "b.png", "b.json")
    # The numbers of entities follow from scores that are nearly equal.
    shown = {re.sub(r"\d", "0", str(x)) for x in variables["result"].best(5)}
    assert "person 0 wears hat 0 (0.00)" in shown


@promises("docs/use.md", "use")
def recipes(folder: Path, variables: Variables) -> None:
    assert_files(folder / "predictions", "sample.json", "sample.png")
    graphs = [json.loads(line) for line in (folder / "graphs" / "graphs.jsonl").read_text().splitlines()]
    assert {graph["image"]["file_name"] for graph in graphs} == {"one.png", "two.png", "more/b.png"}
    assert "person,holds,cup" in (folder / "graphs" / "triplets.csv").read_text()
    assert_files(folder, "drawing.png", "best.png", "my-model/SHA256SUMS")
    drawn = [variables[name] for name in ("drawing", "everything", "nothing")]
    assert len({picture.tobytes() for picture in drawn}) == 3
    with_boxes = json.loads((folder / "with_boxes" / "scene.json").read_text())
    assert [entity["class"] for entity in with_boxes["entities"]] == ["person", "cup"]
    assert with_boxes["relationships"][0]["predicate"] == "holds"
    found = variables["result"].relationships[0]
    assert (found.subject.name, found.predicate, found.object.name) == ("person", "holds", "cup")
    assert len(variables["results"]) == len(variables["paths"]) == 3
    assert variables["again"].info.license == "cc-by-4.0"
    assert_files(folder, "scenes.csv", "scene.dot", "data.json", "tasks.xml", "tasks/label_studio.xml")
    assert_files(folder / "other_tools", "one.graphml", "two.dot", "triplets.parquet/part-00000.parquet")


@promises("docs/formats.md", "formats")
def graph_formats(folder: Path, variables: Variables) -> None:
    graph, mine = variables["graph"], variables["mine"]
    assert graph["relationships"] and variables["graphs"] == [graph, mine]
    for name in ("scene.json", "scene.graphml", "scene.gexf", "scene.cyjs", "scene.dot", "found.json"):
        assert read_graphs(folder / name) == [graph], name
    assert variables["same"] == variables["again"] == graph
    predicates = [x["predicate"] for x in graph["relationships"]]
    for name in ("triplets.csv", "triplets.parquet"):
        found, own = read_graphs(folder / name)
        assert own == mine and [x["predicate"] for x in found["relationships"]] == predicates
    assert list(variables["table"].predicate) == [*predicates, "holds"]
    (image,) = DatasetCatalog.get("found_by_the_model")
    assert len(image["annotations"]) == len(graph["entities"])
    predictor = variables["predictor"]
    assert MetadataCatalog.get("found_by_the_model").thing_classes == predictor.thing_classes


def assert_is_the_recipes_folder(folder: Path) -> None:
    assert_is_a_run(folder)
    assert_is_a_run(folder / "detector")
    assert results(folder / "inference") == ["party_test/prdcls", "party_test/sgdet"]
    assert len(list((folder / "drawings").glob("*.png"))) == 2  # there are no more test images
    assert read_checkpoint(folder / "model_final.pth")["vocabulary"]["thing_classes"][0] == "person"


@promises("README.md", "party")
def own_data(folder: Path, variables: Variables) -> None:
    assert_is_the_recipes_folder(folder / "output" / "party")
    assert len(list((folder / "output" / "party" / "graphs").glob("*.json"))) == 6


@promises("datasets/README.md", "party")
def own_data_with_a_page(folder: Path, variables: Variables) -> None:
    assert_is_the_recipes_folder(folder / "output" / "party")
    assert "guitar" in (folder / "party.html").read_text()
    assert len(DatasetCatalog.get("my_train")) == 4


@promises("docs/label_studio.md", "label studio")
def corrections_in_label_studio(folder: Path, variables: Variables) -> None:
    assert_files(folder / "predictions", "label_studio.json", "label_studio.xml")
    tasks = json.loads((folder / "predictions" / "label_studio.json").read_text())
    addresses = [task["data"]["image"] for task in tasks]
    assert len(addresses) == 4
    assert all(address.startswith("/data/local-files/?d=images/train_") for address in addresses)
    corrected, predicted = (
        json.loads((folder / name).read_text())
        for name in ("corrected/export.json", "predictions/coco_relations.json")
    )
    for kind in ("categories", "predicates"):
        names = [[x["name"] for x in content[kind]] for content in (corrected, predicted)]
        assert names[0] == names[1]
    assert [x["file_name"] for x in corrected["images"]] == [x["file_name"] for x in predicted["images"]]
    assert len(corrected["annotations"]) == len(predicted["annotations"])
    assert len(corrected["relations"]) == len(predicted["relations"]) - 1
    trained = folder / "output" / "corrected"
    vocabulary = read_checkpoint(trained / "model_final.pth")["vocabulary"]
    assert vocabulary["predicate_classes"] == [x["name"] for x in predicted["predicates"]]
    assert results(trained / "inference") == ["corrected_test/prdcls", "corrected_test/sgdet"]
    assert len(DatasetCatalog.get("my_corrections")) == 4


@promises("docs/training.md", "party")
def own_data_with_configs(folder: Path, variables: Variables) -> None:
    output = folder / "output"
    assert_is_the_recipes_folder(output / "party")
    assert_is_a_run(output / "party_detector")
    assert_is_a_run(output / "party_reldn")
    assert_is_a_run(output / "party_in_tars")


@promises("docs/own_loop.md", "own loop")
def corrected_predictions(folder: Path, variables: Variables) -> None:
    corrected, proposed = (
        json.loads((folder / name).read_text())
        for name in ("corrected/train.json", "proposals/train/coco_relations.json")
    )
    assert corrected["relations"][:-1] == proposed["relations"][:-1]
    assert {x["name"] for x in corrected["predicates"]} > {"under"}  # which no photo shows
    assert_is_a_run(folder / "output" / "corrected")
    assert read_checkpoint(folder / "output" / "corrected" / "model_final.pth")["vocabulary"][
        "predicate_classes"
    ] == [x["name"] for x in corrected["predicates"]]
    for run_folder in ("before", "corrected"):
        assert "corrected_test/sgdet" in results(folder / "output" / run_folder / "inference")


@promises("README.md", "reuse")
def reuse(folder: Path, variables: Variables) -> None:
    model = variables.get("model") or build_model(variables["cfg"])
    assert isinstance(model, RelDN)
    assert model.relation_head.pair_classifier.semantic.log_prior.shape[-1] == 50 + 1  # and the background


@promises("docs/reuse.md", "reuse")
def accelerated(folder: Path, variables: Variables) -> None:
    reuse(folder, variables)
    assert type(variables["model"].relation_head.pair_classifier.pooler) is RegionPooler


@promises("docs/reuse.md", "evaluation loop")
def evaluation_loop(folder: Path, variables: Variables) -> None:
    assert set(variables["results"]) == {"prdcls/motifs", "prdcls/confusion"}


@promises("docs/reuse.md", "another model")
def parts_on_another_model(folder: Path, variables: Variables) -> None:
    losses = variables["losses"]
    names = {
        f"loss_rel_{name}" for name in ("class_agnostic", "entity_class", "predicate_class", "cross_entropy")
    }
    assert set(losses) == names and all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    pairs, targets = variables["pairs"], variables["targets"]  # of the sampler
    assert len(variables["logits"]) == len(pairs) == 3 * 2 + 4 * 3 - 2
    assert int(targets.related.sum()) == 2 and targets.label_predicate.tolist() == [4, 4]
    best = variables["best"]
    assert len(best) == 4 * 3 and (best.rank_in_pair == 1).all() and (best.score.diff() <= 0).all()


@promises("docs/reuse.md", "first background")
def first_background(folder: Path, variables: Variables) -> None:
    for name in ("logits", "labels"):
        assert torch.equal(variables[name], variables["known"][name])


@promises("docs/reuse.md", "graphs of another model")
def graphs_of_another_model(folder: Path, variables: Variables) -> None:
    assert set(variables["results"]) == {"sgdet/motifs", "sgdet/reldn"}
    assert variables["results"]["sgdet/motifs"]["R@50"] == 100
    assert_files(folder / "results", "relation_predictions.npz", "relation_results.md")


@promises("docs/reuse.md", "photo")
def drawings(folder: Path, variables: Variables) -> None:
    assert_files(folder, "drawing.png")
    page = (folder / "report.html").read_text()
    assert "data:image/jpeg" in page and "scene graph: person holds cup" in page


@promises("docs/evaluation.md", "evaluators")
def evaluators(folder: Path, variables: Variables) -> None:
    assert set(variables["results"]) == {"prdcls/motifs", "prdcls/reldn", "prdcls/confusion"}


@promises("docs/evaluation.md", "scenes")
def evaluation_of_scenes(folder: Path, variables: Variables) -> None:
    inference = folder / "output" / "scenes" / "reldn" / "inference"
    lines = [
        line for file in inference.rglob("relation_results.csv") for line in file.read_text().splitlines()
    ]
    assert {"motifs", "vrd2016", "confusion", "openimages"} <= {line.partition(",")[0] for line in lines}


@promises("docs/evaluation.md", "two runs")
def two_runs(folder: Path, variables: Variables) -> None:
    found = variables["paired_bootstrap"](variables["a"], variables["b"], "R@50")["macro"]
    assert (found.mean, found.low, found.high) == (0, 0, 0)  # both are the same model
    assert found.verdict == "equal on every image"
    assert_files(folder / "comparison", "compare.md", "differences.svg")


@promises("docs/evaluation.md", "predictions of another model")
def predictions_of_another_model(folder: Path, variables: Variables) -> None:
    saved = load_predictions(folder / "p.npz")
    assert saved.task == "sgdet" and set(saved.predictions) == {"1234"}
    evaluated = variables["evaluate_graphs"](
        variables["truths"], variables["predictions"], "sgdet", ["motifs", "confusion"], variables["split"]
    )
    assert evaluated["motifs"].metrics["R@50"] == variables["listed"]["R@50"] == 100
    assert evaluated["confusion"].metrics["entity_instance_missed"] == 0


@promises("docs/golden.md", "golden cases")
def golden_cases(folder: Path, variables: Variables) -> None:
    names = {case.name for case in variables["golden_cases"]()}
    assert set(variables["evaluated"]) == {name for name in names if name.startswith("motifs_")}
    assert variables["golden"].name == max(names) and variables["results"]


@promises("docs/evaluation.md", "library")
def metrics_in_batches(folder: Path, variables: Variables) -> None:
    results = variables["metrics"].compute()
    assert [results[name].metrics["R@50"] for name in ("motifs", "vrd2016")] == [100, 100]


@promises("docs/evaluation.md", "annotations alone")
def annotations_alone(folder: Path, variables: Variables) -> None:
    assert variables["scorer"].sizes == dict.fromkeys(("a.jpg", "b.jpg", "c.jpg"), (30, 40))


@promises("docs/results.md", "demo")
def confusion_of_the_demo(folder: Path, variables: Variables) -> None:
    for model in ("semantic_spatial", "reldn_l0", "reldn"):
        evaluated = results(folder / "output" / "confusion" / model / "inference")
        assert evaluated == ["reldn_scenes_tiny_test/prdcls", "reldn_scenes_tiny_test/sgdet"]


@promises("docs/training.md", "empty folder")
def training_with_configs(folder: Path, variables: Variables) -> None:
    runs = folder / "output" / "scenes"
    for run_folder in (
        runs / "detector",
        runs / "reldn",
        runs / "reldn_l0",
        folder / "output/lazy/scenes_reldn",
    ):
        assert_is_a_run(run_folder)
    table = "inference/reldn_scenes_tiny_test/{}/relation_{}"
    assert_files(
        runs / "reldn", table.format("prdcls", "results.md"), table.format("sgdet", "predictions.npz")
    )
    assert_files(folder / "output/lazy/scenes_reldn", table.format("sgdet", "results.md"))
    assert_files(runs / "detections", "reldn_scenes_tiny_train.npz", "reldn_scenes_tiny_test.npz")


@promises("docs/checkpoints.md", "scenes")
def saved_model(folder: Path, variables: Variables) -> None:
    named = {"model.safetensors", "config.yaml", "model.json", "README.md", "NOTICE", "SHA256SUMS"}
    assert {file.name for file in (folder / "my_model").iterdir()} == named
    assert variables["predictor"].info == replace(variables["info"], measured_before_rounding=True)
    assert variables["info"].training.data_sets == ("reldn_scenes_tiny_train",)
    table = "inference/reldn_scenes_tiny_test/sgdet/evaluation.json"
    assert_files(folder, f"output/my_model/{table}", f"output/scenes/reldn/{table}")


@promises("docs/checkpoints.md", "other classes")
def other_classes(folder: Path, variables: Variables) -> None:
    for run_folder in (folder / "output" / "detector", folder / "output" / "reldn"):
        assert_is_a_run(run_folder)
    things = read_checkpoint(folder / "output" / "reldn" / "model_final.pth")["vocabulary"]["thing_classes"]
    assert "mug" in things and "cup" not in things


@promises("docs/checkpoints.md", "checkpoint without names")
def checkpoint_without_names(folder: Path, variables: Variables) -> None:
    named = read_checkpoint(folder / "coco.pth")
    assert named["vocabulary"] == {"thing_classes": ["person", "bicycle"], "predicate_classes": []}
    assert torch.equal(torch.as_tensor(named["model"]["backbone.weight"]), torch.ones(3))


@promises("docs/checkpoints.md", "retinanet")
def retinanet(folder: Path, variables: Variables) -> None:
    assert_files(folder / "output" / "retinanet", "my_train.npz", "my_test.npz")
    assert_is_a_run(folder / "output" / "scenes" / "reldn")


@promises("docs/checkpoints.md", "boxes of a detector")
def boxes_of_a_detector(folder: Path, variables: Variables) -> None:
    images = load_detections_into_dataset(
        DatasetCatalog.get("reldn_scenes_tiny_test"), folder / "my_test.npz", variables["thing_classes"]
    )
    np.testing.assert_allclose(images[0]["detections"]["boxes"], [[1, 2, 30, 40]])


@promises("datasets/README.md", "registration")
def registration(folder: Path, variables: Variables) -> None:
    names = {"vrd_other_train", "vg150_overlapping", "vg_animals", "oidv6_train", "vg_authors_train"}
    assert names <= set(DatasetCatalog.list())


@promises("datasets/README.md", "list of images")
def list_of_images(folder: Path, variables: Variables) -> None:
    assert (folder / "images.txt").read_text().split() == ["train/b", "train/a"]


@promises("docs/architecture.md", "contrastive term")
def contrastive_term(folder: Path, variables: Variables) -> None:
    cfg: Any = load_config(str(CONFIGS / "reldn.yaml"), ["MODEL.WEIGHTS", ""])
    cfg.merge_from_file(str(folder / "my_term.yaml"))
    with EventStorage():
        losses = make_model(cfg).train()([make_input(6, [(0, 1, 2), (3, 4, 1)])])
    assert torch.isfinite(losses["loss_rel_same_class"])


@promises("docs/relation_heads.md", "own head")
def own_head(folder: Path, _: Variables) -> None:
    weights = torch.load(folder / "output/linear/model_final.pth", weights_only=True)["model"]
    detector = torch.load(folder / "output/scenes/detector/model_final.pth", weights_only=True)["model"]
    rows = weights["relation_head.scores.weight"].shape
    assert rows == (8, 2 * len(weights["relation_head.box_head.fc2.weight"])), "7 predicates, background"
    start, now = detector["roi_heads.box_head.fc1.weight"], weights["relation_head.box_head.fc1.weight"]
    assert torch.allclose(start, now, atol=1e-2) and not torch.equal(start, now)
    assert not any(name.startswith("relation_backbone") for name in weights)
    results = (
        folder / "output/linear/inference/reldn_scenes_tiny_test/sgdet/relation_results.csv"
    ).read_text()
    assert "confusion" in results


@promises("docs/reuse.md", "own trainer")
def own_trainer(folder: Path, variables: Variables) -> None:
    results = variables["trainer"]._last_eval_results
    assert "sgdet/motifs" in results and (folder / "my_output" / "model_final.pth").is_file()
    model, batch = variables["model"], next(iter(variables["loader"]))
    with EventStorage():
        losses = model.train()(batch)
    sum(losses.values()).backward()
    variables["optimizer"].step()
    assert isinstance(model, RelDN) and variables["checkpointer"].vocabulary.predicate_classes
