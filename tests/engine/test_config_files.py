"""Config files are read as Detectron2 reads them, but as data; what they say about places is not used."""

from pathlib import Path
from typing import Any

import pytest
from detectron2.config import get_cfg

from reldn_d2.config import default_config
from reldn_d2.engine import load_config
from reldn_d2.engine.config_files import read_config_file
from reldn_d2.engine.places import YAML_PLACES, is_place
from reldn_d2.engine.run_identity import flatten
from reldn_d2.model_zoo import get_detectron2_config_file
from reldn_d2.utils.yaml_files import parse_yaml
from tests.builders.commands import Captured, line_of_refusal, run_reldn
from tests.builders.config_files import leaves
from tests.builders.tiny_models import TinyConfig

# Keys whose values are texts that name no place.
NAMES = {
    *("MODEL.DEVICE", "MODEL.META_ARCHITECTURE", "MODEL.BACKBONE.NAME", "MODEL.FPN.NORM"),
    *("MODEL.FPN.FUSE_TYPE", "MODEL.FPN.IN_FEATURES", "MODEL.PROPOSAL_GENERATOR.NAME"),
    *("MODEL.ANCHOR_GENERATOR.NAME", "MODEL.RPN.HEAD_NAME", "MODEL.RPN.IN_FEATURES"),
    *("MODEL.RPN.BBOX_REG_LOSS_TYPE", "MODEL.ROI_HEADS.NAME", "MODEL.ROI_HEADS.IN_FEATURES"),
    *("MODEL.ROI_BOX_HEAD.NAME", "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", "MODEL.ROI_BOX_HEAD.POOLER_TYPE"),
    *("MODEL.ROI_BOX_HEAD.NORM", "MODEL.ROI_MASK_HEAD.NAME", "MODEL.ROI_MASK_HEAD.NORM"),
    *("MODEL.ROI_MASK_HEAD.POOLER_TYPE", "MODEL.ROI_KEYPOINT_HEAD.NAME"),
    *("MODEL.ROI_KEYPOINT_HEAD.POOLER_TYPE", "MODEL.SEM_SEG_HEAD.NAME", "MODEL.SEM_SEG_HEAD.IN_FEATURES"),
    *("MODEL.SEM_SEG_HEAD.NORM", "MODEL.RETINANET.IN_FEATURES", "MODEL.RETINANET.BBOX_REG_LOSS_TYPE"),
    *("MODEL.RETINANET.NORM", "MODEL.RESNETS.OUT_FEATURES", "MODEL.RESNETS.NORM", "MODEL.RELDN_TIMM.NAME"),
    "MODEL.RELDN_PRECISION",
    *("MODEL.ROI_RELATION_HEAD.NAME", "MODEL.ROI_RELATION_HEAD.SEMANTIC.BACKGROUND_COUNT"),
    *(
        f"MODEL.ROI_RELATION_HEAD.LOSS.{x}.NAME"
        for x in ("CLASS_AGNOSTIC", "ENTITY_CLASS", "PREDICATE_CLASS")
    ),
    *("MODEL.ROI_RELATION_HEAD.LOSS.NORMALIZATION", "MODEL.ROI_RELATION_HEAD.SAMPLING.METHOD"),
    *(f"MODEL.ROI_RELATION_HEAD.TEST.{x}" for x in ("TASK", "PROTOCOLS", "EXCLUDED_PREDICATES")),
    *(
        "INPUT.MIN_SIZE_TRAIN_SAMPLING",
        "INPUT.RANDOM_FLIP",
        "INPUT.RELDN_RESIZE_TEST",
        "INPUT.CROP.TYPE",
        "INPUT.FORMAT",
    ),
    *("INPUT.MASK_FORMAT", "DATALOADER.SAMPLER_TRAIN", "DATASETS.TRAIN", "DATASETS.TEST"),
    *("DATASETS.STATISTICS", "DATASETS.CHECK", "SOLVER.LR_SCHEDULER_NAME", "SOLVER.WARMUP_METHOD"),
    *("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "TEST.EXPECTED_RESULTS", "SOLVER.WEIGHT_DECAY_BIAS"),
    "TEST.KEYPOINT_OKS_SIGMAS",
}


def may_be_text(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, str)
        or (isinstance(value, list | tuple) and all(map(may_be_text, value)))
    )


def test_every_key_that_may_name_a_place_is_known() -> None:
    """A key that fails here is new: if it names files or folders, it belongs to YAML_PLACES."""
    texts = {key for key, value in leaves(default_config()).items() if may_be_text(value)}
    assert texts - NAMES == set(YAML_PLACES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((x, True) for x in ("/etc", "~/x", "..", "a/../b", "a\\..\\b", "C:\\x", "https://x.org")),
        *((x, True) for x in ("hf-hub:x/y", " hf-hub:x", "h\tf-hub:x", "HF_HUB:x", "local-dir:x", "timm:x")),
        *((x, True) for x in ("s3://x", "file:x")),
        *((x, False) for x in ("", "cuda:0", "cpu", "resnet18.a1_in1k", "on: the left", "a/b", "a..b")),
    ],
)  # fmt: skip
def test_places(text: str, expected: bool) -> None:
    assert is_place(text) == expected


def test_bases_are_merged_as_in_detectron2(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "first.yaml").write_text("SEED: 1\nMODEL: {MASK_ON: true, DEVICE: cpu}\n")
    (tmp_path / "deep" / "second.yaml").write_text("_BASE_: ../first.yaml\nSEED: 2\nOUTPUT_DIR: x\n")
    (tmp_path / "top.yaml").write_text(
        f"_BASE_: [first.yaml, deep/second.yaml, {tmp_path}/first.yaml]\nMODEL: {{DEVICE: cuda}}\n"
    )
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "top.yaml"))
    found = leaves(load_config(str(tmp_path / "top.yaml")))
    assert {key: found[key] for key in leaves(cfg)} == leaves(cfg)
    assert (found["SEED"], found["MODEL.DEVICE"], found["OUTPUT_DIR"]) == (1, "cuda", "x")


@pytest.mark.parametrize("name", ["COCO-Detection/retinanet_R_50_FPN_1x.yaml", "Base-RetinaNet.yaml"])
def test_detectron2s_own_files_may_compute_their_anchors(name: str, tmp_path: Path) -> None:
    zoo = get_detectron2_config_file(name)
    expected = get_cfg()
    expected.merge_from_file(zoo)
    (tmp_path / "mine.yaml").write_text(f"_BASE_: {zoo}\n")
    for file in (zoo, str(tmp_path / "mine.yaml")):
        assert load_config(file).MODEL.ANCHOR_GENERATOR == expected.MODEL.ANCHOR_GENERATOR


def test_what_only_seems_to_lie_in_the_model_zoo_is_not_exempt(tmp_path: Path) -> None:
    base = Path(get_detectron2_config_file("Base-RetinaNet.yaml"))
    (tmp_path / "link.yaml").symlink_to(base)
    load_config(str(tmp_path / "link.yaml"))
    copy = tmp_path / "copy.yaml"
    copy.write_bytes(base.read_bytes())
    up = Path(*[".."] * (len(base.parent.parts) - 1))
    for file in (copy, base.parent / up / copy.relative_to("/")):
        with pytest.raises(ValueError, match=r"copy\.yaml, line 8: the tag"):
            load_config(str(file))


def test_a_base_that_leads_back_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("_BASE_: b.yaml\n")
    (tmp_path / "b.yaml").write_text("_BASE_: [./a.yaml]\n")
    with pytest.raises(ValueError, match=r"leads back to its start: \S+a\.yaml -> \S+b\.yaml -> \S+a\.yaml"):
        read_config_file(str(tmp_path / "a.yaml"))
    (tmp_path / "c.yaml").write_text("_BASE_: 3\n")
    with pytest.raises(ValueError, match=r"c\.yaml: _BASE_ is 3, not the name of a file"):
        read_config_file(str(tmp_path / "c.yaml"))
    (tmp_path / "d.yaml").write_text("_BASE_: no.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"no\.yaml"):
        read_config_file(str(tmp_path / "d.yaml"))


def test_a_key_that_a_file_has_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    base, mine = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text("VERSION: 2\nSOLVER:\n  MAX_ITER: 1\n  BASE_LR: 0.1\n  MAX_ITER: 2\n")
    mine.write_text("_BASE_: base.yaml\nSEED: 1\n")
    message = rf"^{base}, line 5: the key 'MAX_ITER' occurs twice, first in line 3, .*: remove one$"
    for file in (base, mine):
        with pytest.raises(ValueError, match=message):
            load_config(str(file))
        with pytest.raises(ValueError, match=message):
            load_config(str(file), unsafe_yaml=[str(base)])
    mine.write_text("MODEL: {DEVICE: cpu}\nSEED: 1\n'MODEL': {MASK_ON: true}\n")
    with pytest.raises(
        ValueError, match=r"mine\.yaml, line 3: the key 'MODEL' occurs twice, first in line 1"
    ):
        load_config(str(mine))


def test_a_key_of_a_mapping_and_of_what_it_merges_is_no_repeat() -> None:
    text = "a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}\ne: *x"
    x = {"b": 1, "c": 2}
    assert parse_yaml(text, "") == {"a": x, "d": {"b": 3, "c": 2}, "e": x}


@pytest.mark.parametrize("version", ["", "VERSION: 1\n"])
def test_a_config_of_an_old_version_is_converted(version: str, tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(f"{version}MODEL: {{WEIGHT: old.pth}}\n")
    assert load_config(str(file)).MODEL.WEIGHTS == "old.pth"
    assert load_config(str(file), beside_weights=[str(file)]).MODEL.WEIGHTS == ""


@pytest.mark.parametrize("version", ["0", "3", "-1", "x", "1.0", "true", "null"])
def test_an_impossible_version_is_refused(version: str, tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text(f"VERSION: {version}\n")
    if version == "null":  # is guessed, as in Detectron2
        return
    with pytest.raises(ValueError, match=r"new\.yaml .* VERSION is"):
        load_config(str(file))


def test_the_places_of_a_config_beside_weights_are_not_used(
    tiny_config: TinyConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = tiny_config()
    for key in YAML_PLACES:
        cfg.merge_from_list([key, "/elsewhere" if isinstance(leaves(cfg)[key], str) else "('/elsewhere',)"])
    file = tmp_path / "config.yaml"
    file.write_text(cfg.dump())
    loaded: Any = load_config(str(file), beside_weights=[str(file)])
    found = leaves(loaded)
    assert {key: found[key] for key in YAML_PLACES} == {
        key: leaves(default_config())[key] for key in YAML_PLACES
    }
    assert "names precomputed detections (DATASETS.DETECTION_FILES_TEST" in caplog.text
    changed = {key for key, x in flatten(cfg) if dict(flatten(loaded))[key] != x}
    assert changed == set(YAML_PLACES)
    assert leaves(load_config(str(file)))["OUTPUT_DIR"] == "/elsewhere"


def test_the_option_for_trusted_files_reaches_the_config_and_its_bases(
    tmp_path: Path, capsys: Captured
) -> None:
    mark, image = tmp_path / "mark", tmp_path / "no.png"
    (tmp_path / "base.yaml").write_text(f"VIS_PERIOD: !!python/object/apply:os.mkdir ['{mark}']\n")
    (tmp_path / "mine.yaml").write_text("_BASE_: base.yaml\n")
    (tmp_path / "x.pth").touch()
    words = [
        "predict",
        "--weights",
        tmp_path / "x.pth",
        "--input",
        image,
        "--config-file",
        tmp_path / "mine.yaml",
    ]
    message = line_of_refusal(capsys, *words)
    assert f"add --allow-unsafe-yaml {tmp_path / 'base.yaml'}" in message
    assert not mark.exists()
    assert run_reldn(*words, "--allow-unsafe-yaml", tmp_path / "base.yaml") == 2
    assert mark.is_dir() and "no such file" in capsys.readouterr().err


def test_the_option_for_trusted_files_is_not_for_what_lies_beside_weights(
    tmp_path: Path, capsys: Captured
) -> None:
    mark, file = tmp_path / "mark", tmp_path / "config.yaml"
    file.write_text(f"SEED: !!python/object/apply:os.mkdir ['{mark}']\n")
    (tmp_path / "model_final.pth").touch()
    for command in ("predict", "evaluate", "cache-detections"):
        words = [command, "--weights", tmp_path, "--allow-unsafe-yaml", file]
        words += ["--input", tmp_path / "no.png"] if command == "predict" else []
        assert f"{file}, line 1: the tag" in line_of_refusal(capsys, *words)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"MODEL:\n  DEVICE: '{'-' * 50_000}1'\n", r"config\.yaml: MODEL\.DEVICE is nested too deeply"),
        (
            f"VERSION: 2\nSEED: {'9' * 5000}\n",
            r"config\.yaml, line 2: '9+.* can't be read \(Exceeds the limit",
        ),
        ("SEED: 2020-13-01\n", r"config\.yaml, line 1: '2020-13-01' can't be read \(month must be in"),
    ],
)
def test_a_value_that_is_too_much_for_python_is_named(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        load_config(str(file))
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
