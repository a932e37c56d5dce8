"""Loading checkpoints into models: loaded parameters, reports and refusals."""

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor, nn

from reldn_d2.checkpoint import RelationCheckpointer, Vocabulary
from tests.builders.pickles import Calls
from tests.builders.tiny_models import TinyConfig, make_model

THINGS = [f"thing {i}" for i in range(6)]
PREDICATES = [f"predicate {i}" for i in range(7)]
WORDS = Vocabulary(THINGS, PREDICATES)
CLASSIFIER = "roi_heads.box_predictor.cls_score.weight"
TABLE = "relation_head.pair_classifier.semantic.log_prior"
SKIP = "relation_head.pair_classifier.visual.subject_skip.weight"


def detector(cfg: CfgNode, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return build_model(cfg)


@pytest.fixture
def stage1(tiny_config: TinyConfig) -> CfgNode:
    return tiny_config(file="detector.yaml")


def as_arrays(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: x.numpy() for name, x in model.state_dict().items()}


def assert_same(model: nn.Module, expected: dict[str, Tensor]) -> None:
    state = model.state_dict()
    assert expected and all(torch.equal(state[name], x) for name, x in expected.items())


def save(model: nn.Module, folder: Path, vocabulary: Vocabulary | None = None) -> str:
    RelationCheckpointer(model, str(folder), vocabulary=vocabulary).save("model")
    return str(folder / "model.pth")


def zoo_file(folder: Path, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes the cached file of detectron2://COCO/NAME. iopath remembers its path: use each name once."""
    monkeypatch.setenv("FVCORE_CACHE", str(folder))
    cached = folder / "detectron2" / "COCO" / name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    return cached


def test_a_detector_of_the_model_zoo(
    stage1: CfgNode, tiny_config: TinyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can start a detector, and RelDN."""
    trained = detector(stage1)
    content = pickle.dumps({"model": as_arrays(trained), "__author__": "Zoo"})
    zoo_file(tmp_path, "model_final_1.pkl", content, monkeypatch)
    for model in (detector(stage1, seed=1), make_model(tiny_config(), seed=1)):
        RelationCheckpointer(model).load("detectron2://COCO/model_final_1.pkl")
        assert_same(model, trained.state_dict())


def test_a_broken_download_can_be_done_again(
    stage1: CfgNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = detector(stage1)
    content = pickle.dumps({"model": as_arrays(trained), "__author__": "Zoo"})
    cached = zoo_file(tmp_path, "model_final_2.pkl", content[:5000], monkeypatch)
    model = detector(stage1, seed=1)
    checkpointer = RelationCheckpointer(model)
    with pytest.raises(ValueError, match=f"{cached} can't be read as weights: it is a pickle") as error:
        checkpointer.load("detectron2://COCO/model_final_2.pkl")
    assert f"downloaded from detectron2://COCO/model_final_2.pkl: delete {cached}" in str(error.value)
    cached.write_bytes(content)
    checkpointer.load("detectron2://COCO/model_final_2.pkl")
    assert_same(model, trained.state_dict())


def test_the_advice_for_downloads_is_not_given_for_local_files(stage1: CfgNode, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="it is an HTML page") as error:
        RelationCheckpointer(detector(stage1)).load(str(tmp_path / "model.pth"))
    assert "delete" not in str(error.value)


def test_the_checksum_is_compared_before_anything_is_read(stage1: CfgNode, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Calls(eval, "1")))
    with pytest.raises(ValueError, match=r"asks for builtins\.eval"):
        RelationCheckpointer(detector(stage1)).load(str(path))
    with pytest.raises(ValueError, match=f"is not the expected file.*not {'0' * 64}"):
        RelationCheckpointer(detector(stage1)).load(f"{path}?sha256={'0' * 64}")


def test_a_backbone_under_similar_names(stage1: CfgNode, tmp_path: Path) -> None:
    """Names are matched for `.pth` if the address asks for it, and always for Caffe2's blobs."""
    source, prefix = detector(stage1), "backbone.bottom_up."
    state = {
        name.removeprefix(prefix): x for name, x in source.state_dict().items() if name.startswith(prefix)
    }
    torch.save(state, tmp_path / "backbone.pth")
    model = detector(stage1, seed=1)
    RelationCheckpointer(model).load(f"{tmp_path / 'backbone.pth'}?matching_heuristics=True")
    assert_same(model, {prefix + name: x for name, x in state.items()})
    with pytest.raises(ValueError, match=r"is of another model.*add \?matching_heuristics=True"):
        RelationCheckpointer(model).load(str(tmp_path / "backbone.pth"))

    (tmp_path / "blobs.pkl").write_bytes(pickle.dumps({"conv1_w": np.full((8, 3, 7, 7), 0.25, np.float32)}))
    RelationCheckpointer(model).load(str(tmp_path / "blobs.pkl"))
    assert (model.backbone.bottom_up.stem.conv1.weight == 0.25).all()


@pytest.mark.parametrize("file", ["detector.yaml", "reldn.yaml"])
@pytest.mark.parametrize("complete", [False, True])
def test_weights_of_another_model(tiny_config: TinyConfig, tmp_path: Path, file: str, complete: bool) -> None:
    torch.save({f"layer{i}.weight": torch.zeros(2) for i in range(5)}, tmp_path / "other.pth")
    checkpointer = RelationCheckpointer(build_model(tiny_config(file=file)), complete=complete)
    with pytest.raises(
        ValueError, match=r"other\.pth is of another model: none of its 5 parameters \(layer0\.w"
    ):
        checkpointer.load(str(tmp_path / "other.pth"))


def test_weights_whose_shapes_all_differ_are_of_another_model(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth is of another model"):
        RelationCheckpointer(nn.Linear(2, 4)).load(str(tmp_path / "x.pth"))


@pytest.mark.parametrize("complete", [False, True])
def test_a_single_stage_detector_is_no_start_for_reldn(
    tiny_config: TinyConfig, tmp_path: Path, complete: bool
) -> None:
    names = ("backbone.fpn_lateral3.weight", "head.cls_score.weight", "head.bbox_subnet.0.weight")
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "retina.pth")
    with pytest.raises(
        ValueError, match=r"retina\.pth is of a single-stage detector.*`reldn cache-detections`"
    ):
        RelationCheckpointer(make_model(tiny_config()), complete=complete).load(str(tmp_path / "retina.pth"))


@pytest.mark.parametrize("complete", [False, True])
def test_a_detector_takes_the_detector_of_a_reldn(
    stage1: CfgNode, tiny_config: TinyConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture, complete: bool
) -> None:
    trained = make_model(tiny_config())
    path = save(trained, tmp_path, WORDS)
    model = detector(stage1, seed=1)
    checkpointer = RelationCheckpointer(model, vocabulary=Vocabulary(THINGS, []), complete=complete)
    with caplog.at_level(logging.INFO):
        checkpointer.load(path)
    expected = {name: x for name, x in trained.state_dict().items() if not name.startswith("relation_")}
    assert_same(model, expected)
    assert set(expected) == set(model.state_dict())
    dropped = len(trained.state_dict()) - len(expected)
    assert any(f"its {dropped} relation parameters are not" in message for message in caplog.messages)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_another_models_parameters_may_be_called_relation(tmp_path: Path) -> None:
    trained, model = (nn.ModuleDict({"relation_layer": nn.Linear(2, 2)}) for _ in range(2))
    RelationCheckpointer(model).load(save(trained, tmp_path))
    assert_same(model, trained.state_dict())


def test_an_empty_path_loads_nothing(stage1: CfgNode) -> None:
    model = detector(stage1)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    assert RelationCheckpointer(model).load("") == {}
    assert_same(model, before)


def test_missing_files_are_named(stage1: CfgNode) -> None:
    with pytest.raises(FileNotFoundError, match=r"^nothing\.pth does not exist"):
        RelationCheckpointer(detector(stage1)).load("nothing.pth?matching_heuristics=True")


def test_a_detector_for_other_classes(
    stage1: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained = detector(stage1)
    path = save(trained, tmp_path / "a", Vocabulary(THINGS, []))
    model = detector(stage1, seed=1)
    fresh = {name: x.clone() for name, x in model.state_dict().items()}
    own = Vocabulary(["new", *reversed(THINGS[1:])], [])
    checkpointer = RelationCheckpointer(model, str(tmp_path / "b"), vocabulary=own)
    with caplog.at_level(logging.INFO, logger="fvcore"):
        checkpointer.load(path)
    old, state = trained.state_dict(), model.state_dict()
    assert torch.equal(
        state[CLASSIFIER], torch.stack([fresh[CLASSIFIER][0], *old[CLASSIFIER][[5, 4, 3, 2, 1, 6]]])
    )
    assert_same(model, {name: x for name, x in old.items() if "box_predictor" not in name})
    assert any(
        "other thing_classes: rows of 5 of 6 are copied by name (thing 5, thing 4, thing 3, thing 2, thing "
        "1), 1 are new (new)" in message
        for message in caplog.messages
    )
    checkpointer.save("model")
    saved = torch.load(tmp_path / "b" / "model.pth", weights_only=True)
    assert saved["vocabulary"] == {"thing_classes": own.thing_classes, "predicate_classes": []}


def test_reports_name_the_first_ten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found, own = [f"old {i}" for i in range(12)], [f"new {i}" for i in range(11)]
    path = save(nn.Linear(2, 2), tmp_path, Vocabulary(found, []))
    with caplog.at_level(logging.INFO, logger="fvcore"):
        RelationCheckpointer(nn.Linear(2, 2), vocabulary=Vocabulary(own, [])).load(path)
    expected = f"rows of 0 of 11 are copied by name (), 11 are new ({', '.join(own[:10])}, ...)"
    assert any(expected in message for message in caplog.messages)


@pytest.mark.parametrize("new", [False, True])
def test_a_frozen_detector_that_lacks_classes_is_a_warning(
    tiny_config: TinyConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture, new: bool
) -> None:
    path = save(make_model(tiny_config()), tmp_path, WORDS)
    own = Vocabulary(["unicorn" if new else THINGS[1], THINGS[0], *THINGS[2:]], PREDICATES)
    with caplog.at_level(logging.WARNING, logger="fvcore"):
        RelationCheckpointer(make_model(tiny_config()), vocabulary=own).load(path)
    warnings = [message for message in caplog.messages if "UNTRAINED" in message]
    assert len(warnings) == new
    for message in warnings:
        assert "lacks 1 entity classes (unicorn)" in message and path in message
        assert "first train stage 1" in message and "MODEL.ROI_RELATION_HEAD.WEIGHTS" in message


@pytest.mark.parametrize("what", ["things", "predicates", "nothing"])
def test_the_semantic_table_is_counted_on_the_data_if_the_classes_differ(
    tiny_config: TinyConfig, tmp_path: Path, what: str
) -> None:
    trained, model = make_model(tiny_config()), make_model(tiny_config(), seed=1)
    counted = model.state_dict()[TABLE].clone()
    path = save(trained, tmp_path, WORDS)
    own = Vocabulary(THINGS[::-1] if what == "things" else THINGS, PREDICATES)
    own = Vocabulary(own.thing_classes, PREDICATES[::-1] if what == "predicates" else PREDICATES)
    RelationCheckpointer(model, vocabulary=own).load(path)
    old, state = trained.state_dict(), model.state_dict()
    assert not torch.equal(counted, old[TABLE])
    assert torch.equal(state[TABLE], old[TABLE] if what == "nothing" else counted)
    order = [6, 5, 4, 3, 2, 1, 0, 7] if what == "predicates" else list(range(8))
    assert torch.equal(state[SKIP], old[SKIP][order])


@pytest.mark.parametrize("options", [{"complete": True}, {"same_classes": True}])
@pytest.mark.parametrize("file", ["detector.yaml", "reldn.yaml"])
def test_other_classes_are_refused_without_training(
    tiny_config: TinyConfig, tmp_path: Path, options: dict[str, bool], file: str
) -> None:
    cfg = tiny_config(file=file)
    model = make_model(cfg) if file == "reldn.yaml" else build_model(cfg)
    path = save(model, tmp_path, WORDS)
    own = Vocabulary(THINGS[::-1], PREDICATES)
    remedy = "use a checkpoint and data sets with the same classes"
    with pytest.raises(ValueError, match=f"^{path} has 6 thing_classes, .* {remedy}"):
        RelationCheckpointer(model, vocabulary=own, **options).load(path)


def test_a_run_is_resumed_with_the_same_classes_and_everything(stage1: CfgNode, tmp_path: Path) -> None:
    """A new run may start from the same file with other classes."""
    model = detector(stage1)
    path = save(model, tmp_path, Vocabulary(THINGS, []))
    checkpointer = RelationCheckpointer(model, str(tmp_path), vocabulary=Vocabulary(THINGS[::-1], []))
    with pytest.raises(ValueError, match="use a checkpoint and data sets with the same classes"):
        checkpointer.resume_or_load("never.pth")
    checkpointer.load(path)  # the refused attempt changed nothing
    checkpointer.resume_or_load(path, resume=False)

    state = torch.load(path, weights_only=True)
    del state["model"][CLASSIFIER], state["sha256"]
    torch.save(state, path)
    with pytest.raises(
        ValueError, match=f"{path} lacks 1 parameters of the model, the first is {CLASSIFIER}"
    ):
        RelationCheckpointer(model, str(tmp_path)).resume_or_load("never.pth")
    checkpointer.resume_or_load(path, resume=False)


def test_a_broken_checkpoint_of_the_run_itself(stage1: CfgNode, tmp_path: Path) -> None:
    path = save(detector(stage1), tmp_path)
    Path(path).write_bytes(Path(path).read_bytes()[:1000])
    checkpointer = RelationCheckpointer(detector(stage1), str(tmp_path))
    for load in (checkpointer.saved_run, lambda: checkpointer.resume_or_load("")):
        with pytest.raises(
            ValueError, match=f"{path} can't be read as weights: it is a zip archive that is cut off"
        ):
            load()


def test_another_number_of_classes_without_their_names(
    stage1: CfgNode, tiny_config: TinyConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A detector can start from it, as in fine-tuning. In RelDN the missing layers would never be trained."""
    trained = detector(tiny_config("MODEL.ROI_HEADS.NUM_CLASSES", "9", file="detector.yaml"))
    torch.save({"model": trained.state_dict()}, tmp_path / "nine.pth")
    model = detector(stage1, seed=1)
    with caplog.at_level(logging.WARNING, logger="fvcore"):
        RelationCheckpointer(model, vocabulary=Vocabulary(THINGS, [])).load(str(tmp_path / "nine.pth"))
    assert_same(model, {name: x for name, x in trained.state_dict().items() if "box_predictor" not in name})
    assert any(
        "nine.pth does not name its classes" in m and "by name: 4 parameters" in m for m in caplog.messages
    )
    reldn = RelationCheckpointer(make_model(tiny_config()), vocabulary=WORDS)
    with pytest.raises(
        ValueError, match=r"4 parameters of .*nine\.pth do not fit.*does not name its classes.*docs/ch"
    ):
        reldn.load(str(tmp_path / "nine.pth"))


def test_shapes_that_differ_for_another_reason(tiny_config: TinyConfig, tmp_path: Path) -> None:
    path = save(make_model(tiny_config()), tmp_path, WORDS)
    model = make_model(tiny_config("MODEL.ROI_BOX_HEAD.FC_DIM", "16"))
    with pytest.raises(ValueError, match="do not fit the model") as error:
        RelationCheckpointer(model, vocabulary=WORDS).load(path)
    assert "does not name its classes" not in str(error.value)


def test_an_odd_vocabulary_is_refused_by_name(stage1: CfgNode, tmp_path: Path) -> None:
    model = detector(stage1)
    torch.save({"model": model.state_dict(), "vocabulary": ["a"]}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth has a 'vocabulary' that is not"):
        RelationCheckpointer(model).load(str(tmp_path / "x.pth"))


def test_the_relation_part_of_another_checkpoint(
    tiny_config: TinyConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All of its relation part is copied by the names of the predicates, and nothing of its detector."""
    trained, model = make_model(tiny_config()), make_model(tiny_config(), seed=1)
    path = save(trained, tmp_path, WORDS)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    own = Vocabulary(["unicorn", *THINGS[1:]], ["new", *PREDICATES[:0:-1]])
    with caplog.at_level(logging.INFO):
        RelationCheckpointer(model, vocabulary=own).load_relation_part(path)
    old, state = trained.state_dict(), model.state_dict()
    for name, value in state.items():
        if not name.startswith("relation_") or name == TABLE:
            assert torch.equal(value, before[name]), name
        elif value.shape[:1] == (8,) and name.startswith("relation_head.pair_classifier."):
            assert torch.equal(value, torch.cat([before[name][:1], old[name][[6, 5, 4, 3, 2, 1, 7]]])), name
        else:
            assert torch.equal(value, old[name]), name
    assert any(f"Loaded the relation part of {path}" in message for message in caplog.messages)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_the_relation_part_for_the_same_classes(tiny_config: TinyConfig, tmp_path: Path) -> None:
    trained, model = make_model(tiny_config()), make_model(tiny_config(), seed=1)
    path = save(trained, tmp_path, WORDS)
    RelationCheckpointer(model, vocabulary=WORDS).load_relation_part(f"{path}?matching_heuristics=False")
    assert_same(model, {name: x for name, x in trained.state_dict().items() if name.startswith("relation_")})


def test_the_relation_part_must_be_there_and_complete(
    stage1: CfgNode, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    path = save(detector(stage1), tmp_path / "detector")
    checkpointer = RelationCheckpointer(make_model(tiny_config()), vocabulary=WORDS)
    with pytest.raises(
        ValueError, match=f"{path} has no relation part: MODEL.ROI_RELATION_HEAD.WEIGHTS takes"
    ):
        checkpointer.load_relation_part(path)
    without = make_model(tiny_config("MODEL.ROI_RELATION_HEAD.SPATIAL.ENABLED", "False"))
    path = save(without, tmp_path / "without", WORDS)
    with pytest.raises(ValueError, match=f"{path} lacks 6 parameters of the model, .*spatial"):
        checkpointer.load_relation_part(path)
    path = save(make_model(tiny_config()), tmp_path / "with", WORDS)
    with pytest.raises(ValueError, match=f"{path} has 6 parameters that the model lacks, .*spatial"):
        RelationCheckpointer(without, vocabulary=WORDS).load_relation_part(path)
    state = torch.load(path, weights_only=True)
    torch.save({"model": state["model"]}, path)
    five = make_model(tiny_config("MODEL.ROI_RELATION_HEAD.NUM_PREDICATES", "5"))
    with pytest.raises(ValueError, match=r"do not fit the model.*It does not name its classes"):
        RelationCheckpointer(five).load_relation_part(path)
    narrow = make_model(tiny_config("MODEL.ROI_BOX_HEAD.FC_DIM", "16"))
    with pytest.raises(ValueError, match="do not fit the model; the first is relation_head"):
        RelationCheckpointer(narrow, vocabulary=WORDS).load_relation_part(path)


def test_another_backbone_is_no_start_for_a_detector(
    tiny_config: TinyConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = detector(tiny_config(file="detector.yaml"))
    path = save(small, tmp_path)
    wide = detector(tiny_config("MODEL.FPN.OUT_CHANNELS", "24", file="detector.yaml"))
    with pytest.raises(ValueError, match=r"another backbone.*backbone\.fpn.*16.*24"):
        RelationCheckpointer(wide).load(path)
    deep = detector(tiny_config("MODEL.RESNETS.DEPTH", "101", file="detector.yaml"))
    fresh = {name: x.clone() for name, x in deep.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        RelationCheckpointer(deep).load(path)
    assert "detector with a smaller backbone" in caplog.text
    lacking = [name for name in fresh if name not in small.state_dict()]
    assert lacking and all(name.startswith("backbone.") for name in lacking)
    counted = [name for name in lacking if not name.endswith("num_batches_tracked")]
    assert f": {len(counted)} parameters" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        RelationCheckpointer(detector(tiny_config(file="detector.yaml"))).load(path)
    assert "smaller backbone" not in caplog.text
