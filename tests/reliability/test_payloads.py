"""No file that travels with weights or data runs code or leads to other files: one payload for each kind.

The payloads make a folder, the mark, as soon as anything runs them.
"""

import csv
import io
import json
import os
import pickle
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from torch import nn

from reldn_d2.checkpoint import RelationCheckpointer, read_checkpoint
from reldn_d2.cli.common import find_weights
from reldn_d2.data.data_file import read_data_file
from reldn_d2.data.datasets.visual_genome.vg150 import _read_arrays
from reldn_d2.data.detections import detections_made_by, load_detections_into_dataset, save_detections
from reldn_d2.data.images import _read_cache
from reldn_d2.engine import import_data_sets, load_config, parts_of
from reldn_d2.engine.run import last_checkpoint
from reldn_d2.engine.saved_python import from_data
from reldn_d2.engine.seed import saved_seed
from reldn_d2.evaluation import load_per_image, load_predictions, read_submission
from tests.builders.pickles import Calls
from tests.builders.tiny_models import REPOSITORY
from tests.builders.vg150_files import Photo, h5_arrays, image_data, write_files

TINY_LAZY = REPOSITORY / "tests" / "builders" / "tiny_lazy.py"


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What a payload would make."""
    return tmp_path / "mark"


def tag(mark: Path) -> str:
    """A value in YAML that makes the mark if it is read with `yaml.unsafe_load`."""
    return f"!!python/object/apply:os.mkdir ['{mark}']"


def test_the_payloads_would_run(mark: Path) -> None:
    yaml.unsafe_load(f"OUTPUT_DIR: {tag(mark)}")
    assert mark.is_dir()
    mark.rmdir()
    pickle.loads(pickle.dumps(Calls(os.mkdir, str(mark))))
    assert mark.is_dir()


# --- YAML configs

YAML = {
    "a value": "OUTPUT_DIR: {tag}\n",
    "a key": "{{{tag}: 1}}\n",
    "in a list": "DATASETS:\n  TRAIN:\n  - x\n  - {tag}\n",
    "after an anchor": "A: &a {tag}\nB: *a\n",
    "a merge key": "<<: {tag}\n",
    "a merged mapping": "<<: {{OUTPUT_DIR: {tag}}}\n",
    "a base": "_BASE_: {tag}\n",
    "in a base": "_BASE_: base.yaml\n",
    "in a base of bases": "_BASE_: [empty.yaml, middle.yaml]\n",
    "in a merged base": "<<: {{_BASE_: base.yaml}}\n",
    "an absolute base": "_BASE_: {folder}/base.yaml\n",
    "another spelling": "OUTPUT_DIR: !<tag:yaml.org,2002:python/object/apply:os.mkdir> ['{mark}']\n",
    "another prefix": "%TAG !e! tag:yaml.org,2002:python/\n---\nA: !e!object/apply:os.mkdir ['{mark}']\n",
    "an object": "OUTPUT_DIR: !!python/object/new:os.mkdir ['{mark}']\n",
    "a saved Python config": "model: {tag}\ntrain: {{}}\n",
}  # fmt: skip


def write_yaml(folder: Path, mark: Path, content: str) -> Path:
    (folder / "base.yaml").write_text(f"OUTPUT_DIR: {tag(mark)}\n")
    (folder / "middle.yaml").write_text("_BASE_: base.yaml\n")
    (folder / "empty.yaml").write_text("SEED: 1\n")
    file = folder / "config.yaml"
    file.write_text(content.format(tag=tag(mark), mark=mark, folder=folder))
    return file


@pytest.mark.parametrize("beside", [False, True], ids=["named", "beside weights"])
@pytest.mark.parametrize("name", YAML)
def test_a_config_in_yaml(name: str, beside: bool, tmp_path: Path, mark: Path) -> None:
    file = str(write_yaml(tmp_path, mark, YAML[name]))
    # What lies beside weights is not exempt, even if the user trusts the file.
    given = {"beside_weights": [file], "unsafe_yaml": [file]} if beside else {}
    with pytest.raises(ValueError, match=r"(config|base)\.yaml") as raised:
        load_config(file, **given)
    assert "\n" not in str(raised.value)
    assert not mark.exists()
    assert saved_seed(Path(file), "SEED") is None
    assert not mark.exists()


def test_a_tag_is_refused_by_file_and_line_with_a_remedy(tmp_path: Path, mark: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"SEED: 1\nVIS_PERIOD: {tag(mark)}\n")
    with pytest.raises(ValueError, match=rf"{file}, line 2: the tag !!python/object/apply:os\.mkdir is") as e:
        load_config(str(file))
    assert f"add --allow-unsafe-yaml {file}" in str(e.value)
    load_config(str(file), unsafe_yaml=[str(file)])
    assert mark.is_dir()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("_BASE_: base.yaml\n", "has _BASE_: base.yaml, but a config beside weights names no other files"),
        ("<<: {_BASE_: [base.yaml]}\n", "has _BASE_"),
        ("MODEL: {RELDN_TIMM: {NAME: 'hf-hub:x/y'}}\n", "has MODEL.RELDN_TIMM.NAME: 'hf-hub:x/y', but what"),
        ("MODEL: {RELDN_TIMM: {NAME: \"'hf-hub:x/y'\"}}\n", "has MODEL.RELDN_TIMM.NAME: 'hf-hub:x/y'"),
        ("MODEL: {TIMM: {NAME: 'local-dir:x'}}\n", "has MODEL.RELDN_TIMM.NAME: 'local-dir:x'"),
        ("MODEL: {RELDN_TIMM: {NAME: 'x/y'}}\n", "has MODEL.RELDN_TIMM.NAME"),
        ("MODEL: {META_ARCHITECTURE: '/etc/x'}\n", "has MODEL.META_ARCHITECTURE: '/etc/x'"),
        ("DATASETS: {TEST: ['../x']}\n", r"has DATASETS.TEST: '\.\./x'"),
        ("MODEL: {ROI_RELATION_HEAD: {LOSS: {X: {FILE: 'https://x.org/y'}}}}\n", "LOSS.X.FILE: 'https://"),
        ("a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
         "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
         "e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n",
         "more than 1,000,000 values"),
        ("a: &a [*a]\n", "refer to themselves"),
        ("[" * 500, "nested too deeply"),
    ],
)  # fmt: skip
def test_a_config_beside_weights_names_nothing_outside(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    (tmp_path / "base.yaml").write_text("SEED: 1\n")
    with pytest.raises(ValueError, match=message):
        load_config(str(file), beside_weights=[str(file)])


# --- saved configs in Python


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The content of a saved config in Python."""
    file = tmp_path_factory.mktemp("saved") / "config.yaml"
    parts_of(load_config(str(TINY_LAZY))).save(file)
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    return content


NAMES = (
    *("os.mkdir", "os.system", "builtins.eval", "builtins.exec", "builtins.getattr", "builtins.__import__"),
    *("subprocess.Popen", "subprocess.run", "posix.mkdir", "shutil.rmtree", "functools.partial"),
    *("reldn_d2.cli.train.run", "reldn_d2.engine.load_config", "reldn_d2.engine.import_data_sets"),
    *("reldn_d2.engine.user_modules.import_data_sets", "reldn_d2.utils.io.os.mkdir"),
    *("detectron2.utils.file_io.PathManager.mkdirs", "detectron2.config.instantiate"),
    *("detectron2.config.LazyConfig.load", "detectron2.utils.registry.locate", "pydoc.locate"),
    *("torch.load", "torch.hub.load", "torch.jit.load", "torch.nn.Module.load_state_dict", "torch.nn.os"),
    *("torch.utils.cpp_extension.load", "detectron2.modeling.mmdet_wrapper.MMDetBackbone"),
    *("detectron2.modeling.build_model", "detectron2.data.build.os.mkdir", "nn.os.mkdir", "mkdir", "dict"),
    *("builtins.dict.__class__", "detectron2.modeling.ResNet.__init__.__globals__", "", ".", "a..b", "x" * 9),
    *("torch.nn.nothing.ReLU", "torch.nothing.nn.ReLU", "nothing.ReLU", "ReLU", "torch.nn.ReLU.forward"),
    *("marking_module.Thing", "marking_module", "${train.device}", "${oc.env:HOME}"),
)


def forms(name: str, mark: Path) -> list[Any]:
    """Values of a saved config that use a name."""
    argument = {"path": str(mark), "name": str(mark)}
    return [
        {"_target_": name, **argument},
        {"_name_": name},
        {"_partial_": name, "_args_": [str(mark)]},
        {"_dataclass_": name, **argument},
        {"_target_": "builtins.dict", "x": [{"_tuple_": [{"_name_": name}]}]},
        {"_target_": {"_target_": name, **argument}},
        {"_target_": {"_name_": name}},
        {"_target_": [name]},
    ]


@pytest.fixture
def marking_module(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that makes the mark when it is imported."""
    code = f"import os\nos.mkdir({str(mark)!r})\nclass Thing:\n    pass\n"
    (tmp_path / "marking_module.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("marking_module")
def test_a_name_in_a_saved_python_config(name: str, mark: Path) -> None:
    before = set(sys.modules)
    for evil in forms(name, mark):
        with pytest.raises(ValueError, match=r"config\.yaml: a\.0\.evil.*--config-file"):
            from_data({"a": [{"evil": evil}]}, "config.yaml")
    assert not mark.exists()
    assert set(sys.modules) == before


@pytest.mark.parametrize("where", ["model", "train", "elsewhere"])
def test_names_are_looked_up_wherever_they_stand(
    where: str, saved: dict[str, Any], tmp_path: Path, mark: Path
) -> None:
    file = tmp_path / "config.yaml"
    evil = {"_target_": "os.mkdir", "path": str(mark)}
    file.write_text(yaml.safe_dump({**saved, where: {**saved.get(where, {}), "evil": evil}}))
    with pytest.raises(
        ValueError, match=rf"config\.yaml: {where}\.evil\._target_ is 'os\.mkdir', which is no"
    ):
        load_config(str(file))
    assert not mark.exists()


@pytest.mark.parametrize(
    "text",
    [
        *("${oc.env:HOME}", "${oc.decode:'x'}", "${oc.create:{}}", "a ${oc.env:HOME} b", "${ oc.env:HOME}"),
        *("${reldn_d2.last:${oc.env:HOME}}", "${${train.device}:HOME}", "${reldn_d2.${train.device}:x}"),
        *("${oc.env:${train.device}}", "$${train.device}{oc.env:HOME}", "${train.${oc.env:HOME}}"),
    ],
)
def test_a_saved_python_config_calls_nothing_in_a_text(text: str) -> None:
    for content in ({"x": text}, {"x": [{"y": text}]}, {"x": {"_partial_": "torch.nn.ReLU", "y": text}}):
        with pytest.raises(ValueError, match=r"config\.yaml: x.* calls a function"):
            from_data(content, "config.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.output_dir", "/etc"),
        ("train.init_checkpoint", "https://x.org/evil.pth"),
        ("train.relation_checkpoint", "../evil.pth"),
        ("datasets.test_detections", ["/x.npz"]),
        ("dataloader.evaluator.output_dir", "/etc"),
        ("dataloader.evaluator.output_dir", "${train.output_dir}/../../etc"),
        ("dataloader.test.dataset.detection_files", ["x.npz"]),
    ],
)
def test_places_of_a_python_config_beside_weights_are_not_used(
    key: str, value: Any, saved: dict[str, Any], tmp_path: Path
) -> None:
    node = content = json.loads(json.dumps(saved))
    *path, last = key.split(".")
    for name in path:
        node = node[name]
    node[last] = value
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    settings = parts_of(load_config(str(file), beside_weights=[str(file)])).settings()
    used = json.loads(settings[key])
    assert used != value and used in ("./output", "", [], "./output/inference")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "hf-hub:x/y"),
        ("name", "HF_HUB:x/y"),
        ("root", "/etc"),
        ("files", ["a", "../b"]),
        ("name", "${elsewhere.scheme}:x/y"),
        ("name", "${.scheme}-${.scheme}b:x"),
    ],
)
def test_other_places_of_a_python_config_beside_weights_are_refused(
    key: str, value: Any, saved: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**saved, "elsewhere": {"scheme": "hu", key: value}}))
    with pytest.raises(ValueError, match=rf"has elsewhere\.{key}: .* names nothing outside"):
        load_config(str(file), beside_weights=[str(file)])


def test_proposals_in_pickles_are_refused_in_a_saved_python_config() -> None:
    """Detectron2 runs what is in them. It also finds their names in a config that is an argument."""
    loader = "detectron2.data.build_detection_test_loader"
    cfg = {"MODEL": {"LOAD_PROPOSALS": True}, "DATASETS": {"PROPOSAL_FILES_TEST": ["x.pkl"]}}
    for content, found in (
        ({"_target_": loader, "proposal_files": ["x"]}, "proposal_files"),
        ({"_target_": loader, "cfg": cfg}, "an argument cfg"),
        ({"_target_": loader, "cfg": "${a.b}"}, "an argument cfg"),
        ({"_partial_": loader, "cfg": 3}, "an argument cfg"),
        ({"_partial_": "torch.nn.ReLU", "_args_": [cfg]}, "PROPOSAL_FILES_TEST"),
        (cfg, "PROPOSAL_FILES_TEST"),
    ):
        with pytest.raises(ValueError, match=f"it has {found}"):
            from_data({"x": content}, "config.yaml")


READERS = (
    *("detectron2.data.get_detection_dataset_dicts", "detectron2.data.build_detection_test_loader"),
    *("detectron2.data.build_detection_train_loader", "detectron2.evaluation.COCOEvaluator"),
    *("detectron2.data.DatasetMapper", "reldn_d2.engine.datasets.load_registered"),
    *("reldn_d2.modeling.TimmBackbone", "reldn_d2.modeling.RelDN", "torch.optim.SGD", "builtins.dict"),
    *("reldn_d2.evaluation.RelationEvaluator", "detectron2.modeling.GeneralizedRCNN"),
)


@pytest.mark.parametrize("name", READERS)
def test_a_saved_python_config_hands_on_nothing_that_reads_or_writes_files(name: str) -> None:
    """Other code would call it with arguments that nobody checks."""
    for evil in ({"_partial_": name, "_args_": [["x"], False, 0, ["x.pkl"]]}, {"_name_": name}):
        with pytest.raises(ValueError, match=r"config\.yaml: a\.0\.evil.*--config-file"):
            from_data({"a": [{"evil": evil}]}, "config.yaml")


@pytest.mark.parametrize("where", ["model.backbone.bottom_up.stem.norm", "dataloader.test.collate_fn"])
def test_no_part_reads_proposals_in_a_pickle(
    where: str, saved: dict[str, Any], tmp_path: Path, mark: Path
) -> None:
    (tmp_path / "p.dat").write_bytes(pickle.dumps(Calls(os.mkdir, str(mark))))
    node = content = json.loads(json.dumps(saved))
    *path, last = where.split(".")
    for key in path:
        node = node.setdefault(key, {})
    node[last] = {
        "_partial_": "detectron2.data.get_detection_dataset_dicts",
        "_args_": [["reldn_scenes_test"], False, 0, [str(tmp_path / "p.dat")]],
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=rf"config\.yaml: {where}.*get_detection_dataset_dicts"):
        load_config(str(file), beside_weights=[str(file)])
    assert not mark.exists()


@pytest.mark.parametrize(
    "evil",
    [
        {"_partial_": "torch.nn.LayerNorm", "_args_": ["hf-hub:x/y"]},
        {"_partial_": "torch.nn.LayerNorm", "_args_": [[{"deep": {"_tuple_": ["/etc/x"]}}]]},
        {"_partial_": "torch.nn.LayerNorm", "elementwise_affine": "local-dir:/etc"},
        {"_partial_": "torch.nn.LayerNorm", "../x": 1},
        {"_partial_": "torch.nn.LayerNorm", "x": {"_partial_": "torch.nn.ReLU", "_args_": ["~/x"]}},
        {"_tuple_": [{"_tuple_": ["/etc/x"]}]},
    ],
)
def test_places_among_the_arguments_of_partials_are_refused(
    evil: Any, saved: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**saved, "elsewhere": {"evil": [{"x": evil}]}}))
    with pytest.raises(ValueError, match=r"has elsewhere\.evil\.0\.x: .* names nothing outside"):
        load_config(str(file), beside_weights=[str(file)])


def test_named_places_among_the_arguments_of_partials_are_not_used(
    saved: dict[str, Any], tmp_path: Path
) -> None:
    evil = {"_partial_": "torch.nn.LayerNorm", "output_dir": "x", "more": {"detection_files": ["x.npz"]}}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**saved, "elsewhere": {"evil": evil}}))
    found = load_config(str(file), beside_weights=[str(file)]).elsewhere.evil.keywords
    assert found == {"output_dir": "${train.output_dir}/inference", "more": {"detection_files": []}}


def test_arguments_without_a_name_are_checked_by_the_names_of_the_part(tmp_path: Path) -> None:
    """Parts of the user's own modules may be handed on, whatever they read."""
    (tmp_path / "my_readers.py").write_text("def read(names, proposal_files=(), cfg=None): return names\n")
    import_data_sets(str(tmp_path / "my_readers.py"))
    for arguments, found in (
        ([["a"], ["x.pkl"]], "it has proposal_files"),
        ([["a"], [], 3], "it has an argument cfg"),
        ([1, 2, 3, 4], r"can't take _args_ \(too many positional arguments\)"),
    ):
        with pytest.raises(ValueError, match=rf"x: .*{found}"):
            from_data({"x": {"_partial_": "my_readers.read", "_args_": arguments}}, "config.yaml")
    made = from_data({"x": {"_partial_": "my_readers.read", "_args_": [["a"]]}}, "config.yaml").x
    assert made() == ["a"]


def test_a_pickled_config_is_not_read(saved: dict[str, Any], tmp_path: Path, mark: Path) -> None:
    """Earlier releases wrote one when the YAML could not hold a config."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(saved))
    (tmp_path / "config.yaml.pkl").write_bytes(pickle.dumps(Calls(os.mkdir, str(mark))))
    load_config(str(file), beside_weights=[str(file)])
    assert not mark.exists()


# --- weights


def pickled(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps({"model": Calls(os.mkdir, str(mark))}, protocol=2))


def torch_saved(path: Path, mark: Path) -> None:
    torch.save({"model": {"x": torch.zeros(1)}, "optimizer": Calls(os.mkdir, str(mark))}, path)


def torch_saved_long_ago(path: Path, mark: Path) -> None:
    content = {"model": Calls(os.mkdir, str(mark))}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def a_program(path: Path, mark: Path) -> None:
    torch.jit.script(nn.Linear(1, 1)).save(str(path))


def a_tar(path: Path, mark: Path) -> None:
    payload = pickle.dumps(Calls(os.mkdir, str(mark)))
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle", "../outside"):
            entry = tarfile.TarInfo(name)
            entry.size = len(payload)
            archive.addfile(entry, io.BytesIO(payload))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pkl", ".pyth", ""])
@pytest.mark.parametrize("write", [pickled, torch_saved, torch_saved_long_ago, a_program, a_tar])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_weights(write: Callable[[Path, Path], None], suffix: str, tmp_path: Path, mark: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    write(file, mark)
    with pytest.raises(ValueError, match=f"{file} can't be read as weights"):
        read_checkpoint(file)
    assert not mark.exists() and not (tmp_path.parent / "outside").exists()


@pytest.mark.parametrize(
    "name", ["../x/evil.pth", "{folder}/evil.pth", "https://x.org/evil.pth", "..", "", "a\nb"]
)
def test_last_checkpoint_names_a_file_of_its_folder(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for folder in (tmp_path / "x", tmp_path):
        folder.mkdir(exist_ok=True)
        torch.save({"model": {"x": torch.zeros(1)}}, folder / "evil.pth")
    (run / "last_checkpoint").write_text(name.format(folder=tmp_path))
    parts = parts_of(load_config("scenes/reldn.yaml", ["OUTPUT_DIR", str(run)]))
    for read in (
        lambda: last_checkpoint(parts),
        lambda: RelationCheckpointer(nn.Linear(1, 1), str(run)).get_checkpoint_file(),
        lambda: RelationCheckpointer(nn.Linear(1, 1), str(run)).resume_or_load("", resume=True),
        lambda: find_weights(str(run)),
    ):
        with pytest.raises(ValueError, match=r"last_checkpoint names .* no file of this folder"):
            read()


# --- data


def objects(mark: Path) -> Any:
    array = np.empty(1, dtype=object)
    array[0] = Calls(os.mkdir, str(mark))
    return array


@pytest.mark.parametrize(
    ("key", "read"),
    [
        ("boxes", lambda path: load_detections_into_dataset([], path, [])),
        ("made_by", detections_made_by),
        ("dataset_name", load_predictions),
        ("anything", load_predictions),
    ],
)
def test_arrays_of_numpy(key: str, read: Callable[[Path], Any], tmp_path: Path, mark: Path) -> None:
    file = tmp_path / "x.npz"
    save_detections(file, {}, [])
    with np.load(file) as archive:
        arrays = {**archive, key: objects(mark)}
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match=r"x\.npz"):
        read(file)
    file.write_bytes(pickle.dumps(Calls(os.mkdir, str(mark))))  # NumPy can read this, too
    with pytest.raises(ValueError, match=r"x\.npz"):
        read(file)
    assert not mark.exists()


def test_the_cache_of_image_sizes(tmp_path: Path, mark: Path) -> None:
    np.savez(tmp_path / "x.npz", names=objects(mark), entries=objects(mark))
    assert _read_cache(tmp_path / "x.npz") == {}
    assert not mark.exists()


def external_link(file: Any, key: str, other: Path) -> None:
    file[key] = h5py.ExternalLink(str(other), key)


def soft_link(file: Any, key: str, other: Path) -> None:
    file["elsewhere"] = h5py.ExternalLink(str(other), "/")
    file[key] = h5py.SoftLink(f"/elsewhere/{key}")


def virtual(file: Any, key: str, other: Path) -> None:
    with h5py.File(other, "r") as source:
        layout = h5py.VirtualLayout(source[key].shape, source[key].dtype)
        layout[...] = h5py.VirtualSource(str(other), key, source[key].shape)
    file.create_virtual_dataset(key, layout)


def external_storage(file: Any, key: str, other: Path) -> None:
    raw = other.with_suffix(".raw")
    raw.write_bytes(np.ones(2, dtype=np.int64).tobytes())
    file.create_dataset(key, (2, 1), np.int64, external=[(str(raw), 0, h5py.h5f.UNLIMITED)])


@pytest.mark.parametrize("key", ["labels", "boxes_1024"])
@pytest.mark.parametrize("link", [external_link, soft_link, virtual, external_storage])
def test_hdf5_reads_no_other_file(link: Callable[[Any, str, Path], None], key: str, tmp_path: Path) -> None:
    for name in ("other", "given"):
        (tmp_path / name).mkdir()
        write_files(tmp_path / name, h5_arrays([Photo(7)]), image_data([Photo(7)]))
    other, given = (tmp_path / name / "VG-SGG-with-attri.h5" for name in ("other", "given"))
    _read_arrays(given)
    with h5py.File(given, "r+") as file:
        del file[key]
        link(file, key, other)
    with pytest.raises(ValueError, match=rf"with-attri\.h5: '{key}': it is a link, or its numbers lie in"):
        _read_arrays(given)


def test_objects_in_hdf5(tmp_path: Path) -> None:
    write_files(tmp_path, h5_arrays([Photo(7)]), image_data([Photo(7)]))
    file = tmp_path / "VG-SGG-with-attri.h5"
    with h5py.File(file, "r+") as content:
        del content["labels"]
        content.create_dataset("labels", (2, 1), h5py.string_dtype())
    with pytest.raises(ValueError, match="'labels': it must be rows of 1 integers"):
        _read_arrays(file)


def test_a_data_file(tmp_path: Path, mark: Path) -> None:
    file = tmp_path / "party.yaml"
    for content in (f"train: {tag(mark)}", f"? {tag(mark)}\n: 1", f"<<: {tag(mark)}", f"a: &a {tag(mark)}"):
        file.write_text(content)
        with pytest.raises(ValueError, match=r"party\.yaml, line 1: the tag"):
            read_data_file(file)
    assert not mark.exists()


def test_results_in_json_and_csv(tmp_path: Path, mark: Path) -> None:
    """Forms that other readers of JSON and CSV have run."""
    file = tmp_path / "relation_per_image.json"
    file.write_text(json.dumps({"py/reduce": [{"py/type": "os.mkdir"}, {"py/tuple": [str(mark)]}]}))
    with pytest.raises(ValueError, match="format version None"):
        load_per_image(file)
    file = tmp_path / "submission.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([["ImageId", "PredictionString"], ["a", f"=os.mkdir('{mark}')"]])
    with pytest.raises(ValueError, match=r"submission\.csv"):
        read_submission(file, {"a": (9, 9)}, class_labels=["x"], predicate_labels=["y"])
    assert not mark.exists()
