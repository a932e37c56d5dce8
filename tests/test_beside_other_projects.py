"""Other Detectron2 projects can be imported beside this one, before or after it."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone

import reldn_d2.config
from reldn_d2 import add_reldn_config, register_config
from reldn_d2.config import default_config
from reldn_d2.engine import check_registered, load_config, override_config, parts_of
from reldn_d2.engine.run_identity import check_resumed
from reldn_d2.evaluation import load_predictions
from reldn_d2.renamed import OLD_VALUES
from tests.builders.config_files import leaves
from tests.builders.tiny_models import REPOSITORY

OLD = REPOSITORY / "tests" / "old_release"
SCENES = str(REPOSITORY / "configs" / "scenes" / "detector.yaml")
VGG = str(REPOSITORY / "configs" / "published" / "vrd_vgg16_coco.yaml")

# Registers every name of the earlier release for other things.
FOREIGN_NAMES = """
from detectron2.data import DatasetCatalog
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY, BACKBONE_REGISTRY, PROPOSAL_GENERATOR_REGISTRY, ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
)

THEIRS = {
    "build_timm_backbone": BACKBONE_REGISTRY,
    "build_timm_fpn_backbone": BACKBONE_REGISTRY,
    "build_vgg16_backbone": BACKBONE_REGISTRY,
    "VGGBoxHead": ROI_BOX_HEAD_REGISTRY,
    "RoundedAnchorGenerator": ANCHOR_GENERATOR_REGISTRY,
    "PublishedRPN": PROPOSAL_GENERATOR_REGISTRY,
    "PublishedROIHeads": ROI_HEADS_REGISTRY,
}
for name, registry in THEIRS.items():
    registry.register(type(name, (), {}))
KINDS = ("vrd", "vrd_mini", "scenes", "scenes_tiny")
DATA = [f"{kind}_{split}" for kind in KINDS for split in ("train", "test")]
DATA += [f"vg150_{split}" for split in ("train", "val", "trainval", "test")]
DATA += [f"openimages_vrd_{mini}{split}" for mini in ("", "mini_") for split in ("train", "val")]
for name in DATA:
    DatasetCatalog.register(name, lambda: ["theirs"])
"""
OURS = """
import reldn_d2
"""
STAYS_THEIRS = """
from detectron2.modeling import META_ARCH_REGISTRY
for name, registry in THEIRS.items():
    assert registry.get(name).__module__ == "__main__", name
for name in DATA:
    assert DatasetCatalog.get(name) == ["theirs"] and f"reldn_{name}" in DatasetCatalog, name
assert META_ARCH_REGISTRY.get("RelDN").__module__.startswith("reldn_d2.")
assert BACKBONE_REGISTRY.get("build_reldn_timm_backbone").__module__.startswith("reldn_d2.")
"""
LIST_NAMES = """
import json
import detectron2.config
from detectron2 import modeling
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import build as _samplers
from detectron2.modeling.proposal_generator import RPN_HEAD_REGISTRY
from detectron2.modeling.roi_heads import ROI_MASK_HEAD_REGISTRY, ROI_KEYPOINT_HEAD_REGISTRY
from detectron2.utils.registry import Registry

def names():
    kinds = {**vars(modeling), **globals()}
    found = {key: [name for name, _ in kind] for key, kind in kinds.items() if isinstance(kind, Registry)}
    return {**found, "data": DatasetCatalog.list(), "metadata": MetadataCatalog.list()}

before = names()
import reldn_d2.engine, reldn_d2.cli.common, reldn_d2.recipes, reldn_d2.demo, reldn_d2.visualization
after = names()
print(json.dumps({key: sorted(set(after[key]) - set(before[key])) for key in after}))
"""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def imported_first() -> subprocess.CompletedProcess[str]:
    """A process that prints what our import registers, and then registers the names of another project.

    It serves two tests, because the imports take seconds.
    """
    return run_python(LIST_NAMES + FOREIGN_NAMES + STAYS_THEIRS)


def test_another_project_may_have_registered_any_old_name_before() -> None:
    done = run_python(FOREIGN_NAMES + OURS + STAYS_THEIRS)
    assert done.returncode == 0, done.stderr


def test_another_project_may_register_any_old_name_after(
    imported_first: subprocess.CompletedProcess[str],
) -> None:
    assert imported_first.returncode == 0, imported_first.stderr


def test_every_name_in_a_registry_of_detectron2_is_our_own(
    imported_first: subprocess.CompletedProcess[str],
) -> None:
    assert imported_first.stdout, imported_first.stderr
    added: dict[str, list[str]] = json.loads(imported_first.stdout.splitlines()[-1])
    kinds = ("BACKBONE", "META_ARCH", "RPN_HEAD", "PROPOSAL_GENERATOR", "ROI_BOX_HEAD", "SEM_SEG_HEADS")
    assert {f"{kind}_REGISTRY" for kind in kinds} <= set(added)
    assert len(added["data"]) == len(added["metadata"]) > 10 and len(added["BACKBONE_REGISTRY"]) == 3
    assert [name for names in added.values() for name in names if "reldn" not in name.lower()] == []


# Leaves that RelDN adds to nodes of Detectron2. A new one has to be as unlikely in another project.
OUR_LEAVES = {
    "DATASETS.CHECK",
    "INPUT.RELDN_RESIZE_TEST",
    "DATASETS.STATISTICS",
    "DATASETS.DETECTION_FILES_TRAIN",
    "DATASETS.DETECTION_FILES_TEST",
    "TEST.IMS_PER_BATCH",
    "TEST.SKIP_UNREADABLE",
    "TEST.BEST_CHECKPOINT",
    "SOLVER.PREDICATE_BACKBONE_LR_FACTOR",
}


def test_every_config_node_is_our_own() -> None:
    theirs = get_cfg()
    ours = theirs.clone()
    add_reldn_config(ours)
    added = leaves(ours).keys() - leaves(theirs).keys()
    assert {key for key in added if not key.startswith("MODEL.")} == OUR_LEAVES
    nodes = ours.MODEL.keys() - theirs.MODEL.keys()
    assert nodes == {"ROI_RELATION_HEAD", "RELDN_TIMM", "RELDN_VGG", "RELDN_PRECISION"}
    assert {key.split(".")[1] for key in added - OUR_LEAVES} == nodes


def add_theirs(cfg: CfgNode) -> None:
    """What `add_x_config` of other projects does. Some of these keys were ours in the earlier release."""
    cfg.MODEL.TIMM = CfgNode({"BASE_NAME": "resnet50", "OUT_LEVELS": (3, 4, 5), "NORM": "FrozenBN"})
    cfg.MODEL.VGG = CfgNode({"CHANNELS": [1, 2], "NAME": "theirs"})
    cfg.MODEL.CENTERNET = CfgNode({"NUM_CLASSES": 80})
    cfg.MODEL.BIFPN = CfgNode({"NUM_LEVELS": 5})
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.5
    cfg.TEST.IMS_PER_BATCH = 2
    cfg.DATASETS.STATISTICS = ("theirs",)


THEIR_YAML = """
MODEL:
  TIMM: {BASE_NAME: resnet18, NORM: BN}
  VGG: {CHANNELS: [3, 4]}
  BIFPN: {NUM_LEVELS: 6}
SOLVER: {BACKBONE_MULTIPLIER: 0.1}
"""


@pytest.mark.parametrize("first", [add_reldn_config, add_theirs])
def test_keys_of_both_projects_stay(first: Callable[[CfgNode], None], tmp_path: Path) -> None:
    (second,) = {add_reldn_config, add_theirs} - {first}
    theirs, ours, both = get_cfg(), get_cfg(), get_cfg()
    add_theirs(theirs)
    add_reldn_config(ours)
    first(both)
    second(both)
    assert leaves(both) == {**leaves(ours), **leaves(theirs)}
    (tmp_path / "their.yaml").write_text(THEIR_YAML)
    for cfg in (theirs, both):
        cfg.merge_from_file(str(tmp_path / "their.yaml"))
        cfg.merge_from_list(["MODEL.VGG.CHANNELS", "[5]", "MODEL.TIMM.OUT_LEVELS", "(1,)"])
    assert leaves(both) == {**leaves(ours), **leaves(theirs)}
    assert both.MODEL.TIMM.BASE_NAME == "resnet18" and both.MODEL.VGG.CHANNELS == [5]


def test_existing_keys_inside_a_node_of_ours_keep_their_values() -> None:
    cfg = get_cfg()
    cfg.MODEL.ROI_RELATION_HEAD = CfgNode({"NUM_PREDICATES": 3, "THEIRS": 1, "TEST": CfgNode({"TOP_K": 7})})
    add_reldn_config(cfg)
    head = cfg.MODEL.ROI_RELATION_HEAD
    assert (head.NUM_PREDICATES, head.THEIRS, head.TEST.TOP_K) == (3, 1, 7)
    assert head.NAME == "RelDNHead" and head.TEST.TASK == "sgdet"


def test_adding_the_keys_again_changes_nothing() -> None:
    cfg = get_cfg()
    add_reldn_config(cfg)
    cfg.MODEL.ROI_RELATION_HEAD.TEST.TOP_K = 7
    before = cfg.clone()
    add_reldn_config(cfg)
    assert cfg == before


def test_two_configs_share_no_value() -> None:
    one, other = default_config(), default_config()
    one.MODEL.RELDN_VGG.CHANNELS.append(1)
    assert len(other.MODEL.RELDN_VGG.CHANNELS) == 5


# Old names in files and overrides


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [x.getMessage() for x in caplog.records if x.levelno == logging.WARNING]


OLD_FILE = """
VERSION: 2
MODEL:
  TIMM: {NAME: resnet18, FREEZE_NORM: False}
  VGG: {DROPOUT: 0.25}
  BACKBONE: {NAME: build_timm_fpn_backbone}
  ANCHOR_GENERATOR: {NAME: RoundedAnchorGenerator}
  PROPOSAL_GENERATOR: {NAME: PublishedRPN}
  ROI_HEADS: {NAME: PublishedROIHeads}
  ROI_BOX_HEAD: {NAME: VGGBoxHead}
DATALOADER: {SAMPLER_TRAIN: PredicateRepeatFactorTrainingSampler}
DATASETS: {TRAIN: [scenes_train, my_own_train], TEST: [vg150_test], STATISTICS: [openimages_vrd_mini_train]}
"""


@pytest.fixture
def old_file(tmp_path: Path) -> str:
    path = tmp_path / "old.yaml"
    path.write_text(OLD_FILE)
    return str(path)


def selected_parts(cfg: CfgNode) -> list[str]:
    parts = ("BACKBONE", "ANCHOR_GENERATOR", "PROPOSAL_GENERATOR", "ROI_HEADS", "ROI_BOX_HEAD")
    return [*(cfg.MODEL[part].NAME for part in parts), cfg.DATALOADER.SAMPLER_TRAIN]


def test_old_names_in_a_file_are_converted_with_one_warning(
    old_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = load_config(old_file)
    assert isinstance(cfg, CfgNode)
    assert selected_parts(cfg) == [
        *("build_reldn_timm_fpn_backbone", "RelDNRoundedAnchorGenerator", "RelDNPublishedRPN"),
        *("RelDNPublishedROIHeads", "RelDNVGGBoxHead", "RelDNPredicateRepeatFactorTrainingSampler"),
    ]
    assert (cfg.MODEL.RELDN_TIMM.NAME, cfg.MODEL.RELDN_TIMM.FREEZE_NORM) == ("resnet18", False)
    assert cfg.MODEL.RELDN_VGG.DROPOUT == 0.25 and len(cfg.MODEL.RELDN_VGG.CHANNELS) == 5
    assert "TIMM" not in cfg.MODEL and "VGG" not in cfg.MODEL
    assert tuple(cfg.DATASETS.TRAIN) == ("reldn_scenes_train", "my_own_train")
    assert tuple(cfg.DATASETS.TEST) == ("reldn_vg150_test",)
    assert tuple(cfg.DATASETS.STATISTICS) == ("reldn_openimages_vrd_mini_train",)
    (message,) = warnings_of(caplog)
    assert message.startswith(old_file)
    for words in ("MODEL.TIMM.NAME (now MODEL.RELDN_TIMM.NAME)", "vg150_test (now reldn_vg150_test)"):
        assert words in message


def test_old_names_in_overrides_are_converted_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    words = ["MODEL.TIMM.NAME", "resnet18", "DATASETS.TEST", "('scenes_tiny_test',)"]
    cfg = load_config(SCENES, [*words, "MODEL.BACKBONE.NAME", "build_vgg16_backbone"])
    assert isinstance(cfg, CfgNode)
    assert cfg.MODEL.RELDN_TIMM.NAME == "resnet18"
    assert cfg.DATASETS.TEST == ("reldn_scenes_tiny_test",)
    assert cfg.MODEL.BACKBONE.NAME == "build_reldn_vgg16_backbone"
    (message,) = warnings_of(caplog)
    assert message.startswith("an override ")


def test_a_file_of_today_gives_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    for file in (SCENES, VGG):
        load_config(file)
    assert warnings_of(caplog) == []


def test_a_name_that_somebody_registered_is_not_converted(
    monkeypatch: pytest.MonkeyPatch, old_file: str
) -> None:
    def build(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
        raise NotImplementedError

    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "build_timm_fpn_backbone", build)
    monkeypatch.setitem(DatasetCatalog.data, "vg150_test", list)
    cfg = load_config(old_file, ["DATASETS.STATISTICS", "('vg150_test', 'vg150_train')"])
    assert isinstance(cfg, CfgNode)
    assert cfg.MODEL.BACKBONE.NAME == "build_timm_fpn_backbone"
    assert tuple(cfg.DATASETS.TEST) == ("vg150_test",)
    assert cfg.DATASETS.STATISTICS == ("vg150_test", "reldn_vg150_train")
    check_registered("vg150_test")


def test_old_names_are_names_of_nothing() -> None:
    assert not [name for name in OLD_VALUES if name in BACKBONE_REGISTRY]
    assert not [name for name in DatasetCatalog.list() if f"reldn_{name}" in DatasetCatalog]


def test_a_data_set_under_its_old_name_is_answered_with_the_new_one() -> None:
    with pytest.raises(ValueError, match=r"'vrd_train' is now called 'reldn_vrd_train'"):
        check_registered("vrd_train")


def test_predictions_of_the_earlier_release_name_the_data_set_of_today(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = OLD / "predictions_sgdet.npz"
    assert load_predictions(file).dataset_name == "reldn_scenes_tiny_test"
    monkeypatch.setitem(DatasetCatalog.data, "scenes_tiny_test", list)
    assert load_predictions(file).dataset_name == "scenes_tiny_test"


def old_settings(settings: dict[str, str]) -> dict[str, str]:
    """The same settings, as the earlier release saved them."""
    values = {new: old for old, new in OLD_VALUES.items()}
    found = {}
    for key, text in settings.items():
        for new, old in {**values, "reldn_vrd_": "vrd_", "reldn_scenes_": "scenes_"}.items():
            text = text.replace(f'"{new}', f'"{old}')
        found[key.replace("MODEL.RELDN_TIMM", "MODEL.TIMM").replace("MODEL.RELDN_VGG", "MODEL.VGG")] = text
    return found


@pytest.mark.parametrize("file", [VGG, str(REPOSITORY / "configs" / "lazy" / "scenes_reldn.py")])
def test_a_run_of_the_earlier_release_is_the_same_run(file: str) -> None:
    settings = parts_of(load_config(file)).settings()
    old = old_settings(settings)
    changed = {key for key in settings if old.get(key) != settings[key]}
    expected = {"MODEL.BACKBONE.NAME", "MODEL.RELDN_VGG.DROPOUT"} if file == VGG else {"datasets.train"}
    assert expected <= changed
    check_resumed(old, settings, "model_final.pth")


def test_another_value_under_an_old_key_is_another_run() -> None:
    settings = parts_of(load_config(VGG)).settings()
    old = {**old_settings(settings), "MODEL.VGG.DROPOUT": "0.1", "DATASETS.TRAIN": '["scenes_train"]'}
    with pytest.raises(ValueError, match=r"MODEL.RELDN_VGG.DROPOUT was 0.1, now 0.5") as raised:
        check_resumed(old, settings, "model_final.pth")
    assert 'DATASETS.TRAIN was ["reldn_scenes_train"], now ["reldn_vrd_train"]' in str(raised.value)


# Keys of other projects in the commands


@pytest.fixture
def projects(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reldn_d2.config, "_projects", [])
    yield


@pytest.mark.usefixtures("projects")
def test_a_project_registers_its_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "their.yaml"
    path.write_text(f"_BASE_: {SCENES}\n{THEIR_YAML}")
    remedy = r"key MODEL.\w+.*, which does not exist.*--import the module.*register_config"
    with pytest.raises(ValueError, match=remedy):
        load_config(str(path))
    assert register_config(add_theirs) is add_theirs
    register_config(add_theirs)
    assert reldn_d2.config._projects == [add_theirs]
    cfg = load_config(str(path), ["MODEL.TIMM.NORM", "GN"])
    assert isinstance(cfg, CfgNode)
    assert (cfg.MODEL.TIMM.BASE_NAME, cfg.MODEL.TIMM.NORM) == ("resnet18", "GN")
    assert cfg.MODEL.VGG.CHANNELS == [3, 4] and len(cfg.MODEL.RELDN_VGG.CHANNELS) == 5
    assert set(cfg.MODEL.TIMM) == {"BASE_NAME", "OUT_LEVELS", "NORM"}
    assert parts_of(cfg).settings_for_other_data()["TEST.EXPECTED_RESULTS"] == []
    override_config(cfg, ["MODEL.VGG.CHANNELS", "[7]"], str(path))
    assert cfg.MODEL.VGG.CHANNELS == [7]
    assert warnings_of(caplog) == []


@pytest.mark.usefixtures("projects")
def test_an_old_config_loads_beside_a_project_with_a_node_of_that_name(
    old_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    register_config(add_theirs)
    cfg = load_config(old_file)
    assert isinstance(cfg, CfgNode)
    assert cfg.MODEL.RELDN_TIMM.NAME == "resnet18" and cfg.MODEL.TIMM.BASE_NAME == "resnet50"
    assert cfg.MODEL.RELDN_VGG.DROPOUT == 0.25 and cfg.MODEL.VGG.CHANNELS == [1, 2]
    assert len(warnings_of(caplog)) == 1


def test_a_node_that_is_a_value_of_another_project_is_named() -> None:
    cfg = get_cfg()
    cfg.MODEL.ROI_RELATION_HEAD = CfgNode({"LOSS": "ce"})
    with pytest.raises(ValueError, match=r"the config has MODEL\.ROI_RELATION_HEAD\.LOSS = 'ce'"):
        add_reldn_config(cfg)
