"""A stopped evaluation goes on with the other images, and its results are those of an undisturbed one."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, build_detection_test_loader
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.modeling import build_model
from torch.utils.data import DataLoader

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.data import RelationDatasetMapper
from reldn_d2.engine import Trainer, evaluate, parts_of
from reldn_d2.engine.run import test as run_test
from reldn_d2.evaluation import RelationEvaluator
from reldn_d2.modeling import RelDN
from tests.builders.commands import Captured, line_of_refusal
from tests.builders.stopped_evaluations import (
    COUNTS,
    SMALL,
    TEST_SET,
    computed,
    evaluated,
    files,
    killed_in_a_process,
    shards,
)
from tests.builders.tiny_models import REPOSITORY, TinyConfig, calm_down, make_model

LAZY = REPOSITORY / "tests" / "builders" / "tiny_lazy.py"
UNDISTURBED = [*range(8)]


@pytest.fixture
def counts(tiny_config: TinyConfig) -> CfgNode:
    """A config whose evaluation takes a moment: predicates alone, one image in a batch."""
    cfg = tiny_config(*SMALL, file="frequency.yaml")
    cfg.MODEL.ROI_RELATION_HEAD.TEST.TASK = "prdcls"
    return cfg


def stopped(cfg: CfgNode, limit: int = 5) -> Path:
    """Evaluates until `limit` images are computed. Returns the output folder, with shards of two images."""
    with computed(limit):
        evaluate(cfg)
    return Path(cfg.OUTPUT_DIR)


def finished(cfg: CfgNode, **options: Any) -> tuple[list[Any], dict[str, Any]]:
    """Evaluates to the end. Returns the ids of the computed images, and the results."""
    with computed() as found:
        results = evaluate(cfg, **options)
    assert not shards(Path(cfg.OUTPUT_DIR))
    return found, results


def at(cfg: CfgNode, folder: Path) -> CfgNode:
    """The same config with another output folder."""
    cfg = deepcopy(cfg)
    cfg.OUTPUT_DIR = str(folder)
    return cfg


# --- the same results


def words_of(kind: str, config: TinyConfig, folder: Path) -> list[object]:
    """The words after `reldn evaluate` for a kind of model, with random weights."""
    if kind == "detector":
        torch.manual_seed(0)
        model = build_model(config(file="detector.yaml"))
        calm_down(model)
    else:
        model = make_model(config())
    RelationCheckpointer(model, str(folder)).save("model")
    weights = ["--weights", folder / "model.pth"]
    if kind == "python":
        return [*weights, "--config-file", LAZY, "--task", "sgcls", "dataloader.test.batch_size=1"]
    if kind == "detector":
        lowest = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
        return [*weights, "--config-file", "scenes/detector.yaml", *SMALL, *lowest]
    # Three images share a batch, so that a batch is padded with the same ones again.
    return [*weights, "--config-file", "scenes/reldn.yaml", *SMALL, "TEST.IMS_PER_BATCH", "3"]


@pytest.mark.parametrize("kind", ["yaml", "python", "detector"])
def test_a_stopped_evaluation_computes_only_the_rest(
    kind: str, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    words = words_of(kind, tiny_config, tmp_path)
    assert evaluated(tmp_path / "whole", *words) == UNDISTURBED
    before = evaluated(tmp_path / "stopped", *words, limit=6)
    assert before == [0, 1, 2, 3, 4, 5]
    assert len(shards(tmp_path / "stopped")) == (2 if kind == "yaml" else 3)
    assert evaluated(tmp_path / "stopped", *words) == [6, 7]
    whole = files(tmp_path / "whole")
    assert files(tmp_path / "stopped") == whole
    assert any(name.endswith(("relation_predictions.npz", "instances_predictions.pth")) for name in whole)


def test_a_killed_process_loses_one_shard_at_most(tmp_path: Path) -> None:
    words = [*COUNTS, *SMALL]
    killed_in_a_process(tmp_path, tmp_path / "killed", *words, limit=7)
    assert evaluated(tmp_path / "killed", *words) == [6, 7]
    assert evaluated(tmp_path / "whole", *words) == UNDISTURBED
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["yaml", "python", "detector"])
def test_two_killed_processes_go_on_as_two_or_as_one(
    kind: str, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    words = words_of(kind, tiny_config, tmp_path)
    two = [*words, "--num-gpus", "2"]
    batch = 3 if kind == "yaml" else 1
    killed_in_a_process(tmp_path, tmp_path / "killed", *two, limit=3, images=1)
    shutil.copytree(tmp_path / "killed", tmp_path / "killed_too")
    saved = shards(tmp_path / "killed")
    assert 1 <= len(saved) <= 6 // batch
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        for output, more in (("killed", two), ("killed_too", words), ("whole_of_two", two), ("whole", words)):
            evaluated(tmp_path / output, *more)
            assert not shards(tmp_path / output)
    assert files(tmp_path / "killed") == files(tmp_path / "whole_of_two")
    assert files(tmp_path / "killed_too") == files(tmp_path / "whole")


def test_a_finished_data_set_is_not_evaluated_again(counts: CfgNode, tmp_path: Path) -> None:
    counts.DATASETS.TEST = ("reldn_scenes_tiny_train", TEST_SET)
    stopped(counts, limit=16 + 5)
    found, results = finished(counts)
    assert found == [4, 5, 6, 7]
    assert (*finished(at(counts, tmp_path / "whole")),) == ([*range(16), *UNDISTURBED], results)


def test_of_several_tasks_none_is_evaluated_again(tiny_config: TinyConfig, tmp_path: Path) -> None:
    words = [*words_of("yaml", tiny_config, tmp_path), "TEST.IMS_PER_BATCH", "1"]
    tasks = ["--task", "prdcls", "sgcls"]
    assert evaluated(tmp_path / "stopped", *words, *tasks, limit=8 + 5) == [*UNDISTURBED, 0, 1, 2, 3, 4]
    assert evaluated(tmp_path / "stopped", *words, *tasks) == [4, 5, 6, 7]
    assert not shards(tmp_path / "stopped")
    assert evaluated(tmp_path / "whole", *words, *tasks) == [*UNDISTURBED, *UNDISTURBED]
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")
    # The numbers are those of each task alone; the summary has both.
    for task in ("prdcls", "sgcls"):
        assert evaluated(tmp_path / task, *words, "--task", task) == UNDISTURBED
        alone, both = files(tmp_path / task), files(tmp_path / "whole")
        names = [name for name in alone if f"/{task}/" in name and not name.endswith("evaluation.json")]
        assert names
        assert {name: both[name] for name in names} == {name: alone[name] for name in names}
    summary = json.loads(files(tmp_path / "whole")["summary.json"])
    assert {group.split("/")[0] for group in summary["results"]} == {"prdcls", "sgcls"}


def test_tasks_of_another_model_are_refused(
    tiny_config: TinyConfig, tmp_path: Path, capsys: Captured
) -> None:
    words = [*words_of("yaml", tiny_config, tmp_path), "--task", "prdcls", "sgcls"]
    evaluated(tmp_path, *words, limit=6)
    refused = line_of_refusal(capsys, "evaluate", "--output", tmp_path, *words, "INPUT.MAX_SIZE_TEST", "95")
    assert "MAX_SIZE_TEST" in refused
    assert evaluated(tmp_path, *words) == [6, 7, *UNDISTURBED]


def test_if_scoring_fails_only_the_scores_are_computed_again(
    counts: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(RelationEvaluator, "evaluate", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            finished(counts)
    found, results = finished(counts)
    assert found == [] and results


def test_an_evaluator_sees_the_images_in_their_order(counts: CfgNode) -> None:
    """Also if a shard in the middle is lost."""

    class Order(DatasetEvaluator):
        def reset(self) -> None:
            self.seen: list[Any] = []

        def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
            self.seen += [(x["image_id"], x["file_name"], x["height"], len(x)) for x in inputs]

    parts, model, evaluator = parts_of(counts), make_model(counts), Order()
    with computed(6):
        run_test(parts, model, [evaluator])
    shards(Path(counts.OUTPUT_DIR))[1].unlink()
    with computed() as found:
        run_test(parts, model, [DatasetEvaluators([evaluator])])
    assert found == [2, 3, 6, 7]
    assert [x[:3] for x in evaluator.seen] == [
        (x["image_id"], x["file_name"], x["height"]) for x in DatasetCatalog.get(TEST_SET)
    ]


# --- another evaluation


def test_another_evaluation_in_the_folder_is_refused_by_name(
    counts: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(counts) / "inference" / "unfinished"

    def refused(change: Callable[[CfgNode], object], message: str) -> None:
        cfg = deepcopy(counts)
        change(cfg)
        with pytest.raises(ValueError, match=message) as caught:
            evaluate(cfg)
        text = str(caught.value)
        assert text.startswith(f"{folder} has predictions of another evaluation, which did not end: ")
        assert text.endswith(
            "To go on with that one, evaluate as before. To drop its predictions, add --restart to `reldn "
            "evaluate`, or delete this folder. To keep both, choose another output folder (OUTPUT_DIR FOLDER)"
        )
        assert len(shards(folder.parents[1])) == 2

    head = "MODEL.ROI_RELATION_HEAD"
    refused(
        lambda cfg: cfg.merge_from_list([f"{head}.TEST.TOP_K", 99]), rf"{head}\.TEST\.TOP_K was 100, now 99\."
    )
    refused(
        lambda cfg: cfg.merge_from_list(["INPUT.MIN_SIZE_TEST", 90]), r"INPUT\.MIN_SIZE_TEST was 96, now 90\."
    )
    refused(lambda cfg: cfg.merge_from_list(["TEST.IMS_PER_BATCH", 2]), "TEST.IMS_PER_BATCH was 1, now 2")
    other = ("reldn_scenes_tiny_train",)
    refused(
        lambda cfg: cfg.merge_from_list(["DATASETS.TEST", other]),
        f"data set was {TEST_SET}, now reldn_scenes_tiny_train",
    )
    # Other counts are other weights of this model.
    refused(
        lambda cfg: cfg.merge_from_list(["DATASETS.STATISTICS", (TEST_SET,)]),
        r"weights \(sha256\) was [0-9a-f]{16}, now [0-9a-f]{16}",
    )
    refused(
        lambda cfg: cfg.merge_from_list([f"{head}.TEST.PROTOCOLS", ("motifs",)]),
        r"questions about the images \(sha256\) was \w+, now \w+",
    )
    changed = deepcopy(DatasetCatalog.get(TEST_SET))
    changed[7]["relations"] = changed[7]["relations"][:-1]
    monkeypatch.setitem(DatasetCatalog.data, TEST_SET, lambda: changed)
    refused(lambda cfg: None, r"content of the data \(sha256\) was \w+, now \w+")
    monkeypatch.undo()
    # A setting that no output depends on may change.
    counts.SOLVER.BASE_LR = 7.0
    counts.TEST.EVAL_PERIOD = 7
    assert finished(counts)[0] == [4, 5, 6, 7]


def test_the_command_says_it_in_one_line_and_begins_anew_if_told(tmp_path: Path, capsys: Captured) -> None:
    words = [*COUNTS, *SMALL]
    assert evaluated(tmp_path, *words, limit=5) == [0, 1, 2, 3, 4]
    words += ["MODEL.ROI_RELATION_HEAD.TEST.TOP_K", "120"]
    message = line_of_refusal(capsys, "evaluate", "--output", tmp_path, *words)
    assert "TOP_K was 100, now 120" in message
    assert evaluated(tmp_path, *words, "--restart") == UNDISTURBED


def test_another_task_is_refused(counts: CfgNode) -> None:
    model = make_model(counts)
    with computed(2):
        run_test(parts_of(counts), model, others="refuse")
    model.task = counts.MODEL.ROI_RELATION_HEAD.TEST.TASK = "sgcls"
    with pytest.raises(ValueError, match=r"task was prdcls, now sgcls\. To go on"):
        run_test(parts_of(counts), model, others="refuse")


@pytest.mark.parametrize("seed", [0, 1])
def test_predictions_of_a_killed_training_do_not_block_an_evaluation(seed: int, counts: CfgNode) -> None:
    """It goes on with those of its own weights and drops others, which the training makes again."""
    with computed(5):
        Trainer.test(counts, make_model(counts, seed=0))
    with computed() as found:
        run_test(parts_of(counts), make_model(counts, seed=seed), others="refuse")
    assert found == ([4, 5, 6, 7] if seed == 0 else UNDISTURBED)


@pytest.mark.slow
def test_to_restart_drops_predictions_of_the_same_model_too(counts: CfgNode) -> None:
    stopped(counts)
    assert finished(counts, restart=True)[0] == UNDISTURBED


def test_a_training_drops_predictions_of_other_weights_and_goes_on_with_its_own(
    counts: CfgNode, caplog: pytest.LogCaptureFixture
) -> None:
    for seed, left in ((0, [4, 5, 6, 7]), (1, UNDISTURBED)):
        with computed(5):
            Trainer.test(counts, make_model(counts, seed=0))
        caplog.clear()
        with caplog.at_level(logging.INFO), computed() as found:
            results = Trainer.test(counts, make_model(counts, seed=seed))
        assert found == left
        assert ("weights (sha256) was" in caplog.text) == (seed == 1)
        assert caplog.text.count("They are deleted") == seed
        assert results == Trainer.test(counts, make_model(counts, seed=seed))


# --- damage


def test_a_damaged_shard_is_named_and_its_images_are_computed_again(
    counts: CfgNode, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    whole = finished(at(counts, tmp_path / "whole"))[1]
    first, second = shards(stopped(counts))
    first.write_bytes(first.read_bytes()[:-100])
    caplog.clear()
    found, results = finished(counts)
    assert found == [0, 1, 4, 5, 6, 7]
    assert results == whole
    assert f"{first} is no complete shard of predictions: " in caplog.text
    assert "its images are computed again" in caplog.text and str(second) not in caplog.text


# --- what is not promised


@pytest.mark.slow
def test_outputs_that_a_shard_can_not_hold_are_evaluated_without_one(
    counts: CfgNode, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference = RelDN.inference
    whole = finished(counts)[1]
    monkeypatch.setattr(RelDN, "inference", lambda *a: [{**x, "more": object()} for x in inference(*a)])
    with caplog.at_level(logging.INFO):
        assert finished(counts) == (UNDISTURBED, whole)
    assert caplog.text.count("Outputs have a builtins.object and are not saved") == 1


def test_an_evaluator_that_reads_more_than_was_saved_is_an_error(counts: CfgNode) -> None:
    class Reading(RelationEvaluator):
        reads: Any = staticmethod(lambda x: x["image"].shape)

        def process(self, inputs: Any, outputs: Any) -> None:
            for x in inputs:
                self.reads(x)
            super().process(inputs, outputs)

    parts, model = parts_of(counts), make_model(counts)
    evaluator = Reading(TEST_SET, "prdcls")
    with computed(5):
        run_test(parts, model, [evaluator])
    for reads in (Reading.reads, lambda x: x.get("image"), lambda x: "image" in x):
        evaluator.reads = reads
        with pytest.raises(
            ValueError, match="the evaluator reads 'image' of an input whose prediction was saved"
        ):
            run_test(parts, model, [evaluator])
    evaluator.reads = lambda x: (x.get("none"), "none" in x, x["height"])
    with computed() as found:
        run_test(parts, model, [evaluator])
    assert found == [4, 5, 6, 7]


def test_a_loader_of_ones_own_is_evaluated_whole(
    counts: CfgNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Own(DataLoader[Any]):
        """Nobody knows what it yields."""

    mapper, images = RelationDatasetMapper(counts, is_train=False), DatasetCatalog.get(TEST_SET)

    def own(dataset_name: str) -> Any:
        theirs = build_detection_test_loader(images, mapper=mapper)
        return Own(theirs.dataset, batch_size=2, collate_fn=theirs.collate_fn)

    whole = finished(counts)[1]
    of_an_earlier_evaluation = Path(counts.OUTPUT_DIR, "inference", TEST_SET, "unreadable_images.json")
    of_an_earlier_evaluation.touch()
    monkeypatch.setattr(Trainer, "build_test_loader", lambda cfg, name: own(name))
    with caplog.at_level(logging.INFO):
        assert evaluate(counts) == whole
    assert f"{TEST_SET} has a loader of its own: if this evaluation is stopped, it starts anew" in caplog.text
    assert not of_an_earlier_evaluation.exists()
    counts.TEST.SKIP_UNREADABLE = True
    with pytest.raises(ValueError, match=r"TEST\.SKIP_UNREADABLE needs Detectron2's test loader, but"):
        evaluate(counts)
