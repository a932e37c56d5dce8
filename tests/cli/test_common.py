"""What the commands share: overrides, weights, configs, errors and exit statuses."""

import argparse
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from detectron2.config import CfgNode
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from reldn_cli.commands import COMMANDS
from reldn_cli.main import main, parse
from reldn_d2.cli import common
from reldn_d2.cli.common import (
    InterruptedByUserError,
    Weights,
    find_weights,
    launched,
    load_run_config,
    run_command,
    take_overrides,
)
from tests.builders import failing_commands
from tests.builders.commands import Captured, line_of_refusal
from tests.builders.tiny_models import REPOSITORY, TinyConfig

LAZY = str(REPOSITORY / "tests" / "builders" / "tiny_lazy.py")
SCENES = "scenes/reldn.yaml"
YAML_KEYS = ("MODEL.DEVICE", "MODEL.WEIGHTS", "SOLVER.BASE_LR")
PYTHON_KEYS = ("train.device", "train.seed", "model.backbone.out_channels")


def args_of(command: str, *words: object) -> Namespace:
    return parse(COMMANDS[command], [str(word) for word in words])


def predict_args(*words: str) -> Namespace:
    return args_of("predict", "--weights", "w", *words)


# --- overrides


@pytest.mark.parametrize(
    ("words", "images", "overrides"),
    [
        ("--input a.jpg b.jpg", ["a.jpg", "b.jpg"], []),
        ("--input a.jpg b.jpg MODEL.DEVICE cpu --output x", ["a.jpg", "b.jpg"], ["MODEL.DEVICE", "cpu"]),
        ("MODEL.DEVICE cpu --input a.jpg --output x", ["a.jpg"], ["MODEL.DEVICE", "cpu"]),
        ("--input a.jpg --output x MODEL.DEVICE cpu", ["a.jpg"], ["MODEL.DEVICE", "cpu"]),
        ("--input a.jpg MODEL.DEVICE cpu b.jpg", ["a.jpg", "b.jpg"], ["MODEL.DEVICE", "cpu"]),
        (
            "SOLVER.BASE_LR 1 --input a.jpg MODEL.DEVICE cpu --output x MODEL.WEIGHTS y",
            ["a.jpg"],
            ["MODEL.DEVICE", "cpu", "SOLVER.BASE_LR", "1", "MODEL.WEIGHTS", "y"],
        ),
        # A value may look like a key.
        ("--input a.jpg MODEL.WEIGHTS MODEL.DEVICE", ["a.jpg"], ["MODEL.WEIGHTS", "MODEL.DEVICE"]),
        ("--output x --input a=b.jpg", ["a=b.jpg"], []),
        ("--input a.jpg -- MODEL.DEVICE cpu", ["a.jpg"], ["MODEL.DEVICE", "cpu"]),
    ],
)
def test_overrides_are_found_wherever_they_stand(words: str, images: list[str], overrides: list[str]) -> None:
    args = predict_args(*words.split())
    assert take_overrides(args, YAML_KEYS, python=False) == overrides
    assert args.input == images
    assert str(args.output) == ("x" if "--output" in words else "predictions")


@pytest.mark.parametrize(
    ("words", "images", "overrides"),
    [
        ("--input a.jpg train.device=cpu --output x", ["a.jpg"], ["train.device=cpu"]),
        ("train.seed=3 --input a.jpg", ["a.jpg"], ["train.seed=3"]),
        (
            "--input a.jpg b=c.jpg --output x train=null",
            ["a.jpg", "b=c.jpg"],
            ["train=null"],
        ),
    ],
)
def test_overrides_of_a_python_config(words: str, images: list[str], overrides: list[str]) -> None:
    args = predict_args(*words.split())
    assert take_overrides(args, PYTHON_KEYS, python=True) == overrides
    assert args.input == images


@pytest.mark.parametrize(
    ("words", "python", "message"),
    [
        (
            "--input a.jpg --output x MODEL.DEVCE cpu",
            False,
            "'MODEL.DEVCE' is no key .*: did you mean MODEL.DEVICE",
        ),
        ("--input a.jpg --output x xyz", False, "'xyz' is no key of the config$"),
        ("--input a.jpg MODEL.DEVICE", False, "MODEL.DEVICE has no value: write MODEL.DEVICE VALUE"),
        ("--input a.jpg --output x MODEL.DEVICE", False, "MODEL.DEVICE has no value"),
        ("--input a.jpg --output x train.sed=1", True, "'train.sed=1' is no key .*: did you mean train.seed"),
        (
            "--input a.jpg --output x MODEL.DEVICE cpu",
            True,
            "'MODEL.DEVICE' is no key of the config: did you mean train.device",
        ),
        (
            "--input a.jpg --output x train.seed=1",
            False,
            "'train.seed=1' is no key of the config",
        ),
        ("--input a.jpg --output x MODEL.DEVICE=cpu", False, "is no override: write MODEL.DEVICE VALUE"),
        (
            "--input a.jpg --output x train.seed 1",
            True,
            "'train.seed' is no override: write train.seed=VALUE",
        ),
    ],
)
def test_odd_words_are_named(words: str, python: bool, message: str) -> None:
    args = predict_args(*words.split())
    with pytest.raises(ValueError, match=message):
        take_overrides(args, PYTHON_KEYS if python else YAML_KEYS, python=python)


# --- weights


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_a_file_of_weights(run_folder: Path) -> None:
    file = run_folder / "x.pth"
    file.touch()
    found = find_weights(str(file))
    assert found == Weights(str(file), run_folder) and found.config_file is None
    (run_folder / "config.yaml").touch()
    assert found.config_file == run_folder / "config.yaml"
    checked = f"{file}?sha256={'0' * 64}"
    assert find_weights(checked) == Weights(checked, run_folder)


def test_the_folder_of_a_run_means_its_final_or_last_checkpoint(run_folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no finished training .* it has no \.pth file"):
        find_weights(str(run_folder))
    (run_folder / "model_0000004.pth").touch()
    with pytest.raises(FileNotFoundError, match=r"it has model_0000004\.pth: name one of them"):
        find_weights(str(run_folder))
    (run_folder / "last_checkpoint").write_text("model_0000004.pth\n")
    assert find_weights(str(run_folder)) == Weights(str(run_folder / "model_0000004.pth"), run_folder)
    (run_folder / "model_final.pth").touch()
    final = str(run_folder / "model_final.pth")
    assert find_weights(str(run_folder)) == Weights(final, run_folder)
    assert find_weights(f"{run_folder}?sha256=1").address == f"{final}?sha256=1"
    (run_folder / "last_checkpoint").write_text("gone.pth")
    (run_folder / "model_final.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"names 'gone\.pth', but .* such as model_0000004\.pth"):
        find_weights(str(run_folder))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model_0000004.pth", "but last_checkpoint names model_0000004.pth"),
        ("gone.pth", "last_checkpoint names 'gone.pth', but "),
        (" \n", "last_checkpoint names '', which is no file of this folder"),
        ("model_final.pth", ""),
    ],
)
def test_final_weights_beside_another_last_checkpoint_are_said(
    run_folder: Path, content: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("model_0000004.pth", "model_final.pth"):
        (run_folder / name).touch()
    (run_folder / "last_checkpoint").write_text(content)
    assert find_weights(str(run_folder)) == Weights(str(run_folder / "model_final.pth"), run_folder)
    assert said in caplog.text and bool(caplog.text) == bool(said)
    assert not said or f"weights are those of {run_folder / 'model_final.pth'}" in caplog.text


def test_weights_at_an_address_are_not_fetched() -> None:
    for text in ("https://example.org/x.pkl", "detectron2://x.pkl?matching_heuristics=True"):
        found = find_weights(text)
        assert (found.address, found.folder, found.config_file) == (text, None, None)


def test_names_of_detectron2s_model_zoo() -> None:
    found = find_weights("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml")
    assert found.address.startswith("https://") and found.address.endswith("model_final_280758.pkl")
    assert found.folder is None
    with pytest.raises(FileNotFoundError, match=r"did you mean COCO-Detection/faster_rcnn_R_50_FPN_3x\.yaml"):
        find_weights("COCO-Detection/faster_rcnn_R50_FPN_3x.yaml")
    with pytest.raises(ValueError, match="has this config, but no weights for it"):
        find_weights("Base-RCNN-FPN.yaml")


def test_without_pkg_resources_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # None makes Python's import fail as if there were no such module.
    monkeypatch.setitem(sys.modules, "detectron2.model_zoo", None)
    monkeypatch.delattr("detectron2.model_zoo", raising=False)
    with pytest.raises(ValueError, match=r"can't be read \(.+\)\. .*pip install 'setuptools<81'"):
        find_weights("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml")


def test_weights_that_are_nowhere() -> None:
    with pytest.raises(FileNotFoundError, match=r"--weights nowhere: there is no such file or folder: give"):
        find_weights("nowhere")
    wanted = r"--weights authors-vg-vgg61: there is no such file or folder: did you mean authors-vg-vgg16 or"
    with pytest.raises(FileNotFoundError, match=wanted):
        find_weights("authors-vg-vgg61")


# --- configs


OPTIONS = ("weights", "output", "device", "precision", "seed")


def train_args(*words: object, config: object = SCENES) -> Namespace:
    return args_of("train", "--config-file", config, *words)


def test_options_and_overrides_set_the_config() -> None:
    weights = Weights("w.pth", Path())
    words = ("--output", "o", "--device", "cuda", "--precision", "bf16", "--seed", 0, "SOLVER.BASE_LR", 0.5)
    cfg = load_run_config(train_args(*words), OPTIONS, weights=weights).cfg
    found = (cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, cfg.MODEL.DEVICE, cfg.SEED, cfg.SOLVER.BASE_LR)
    assert found == ("w.pth", "o", "cuda", 0, 0.5)
    assert cfg.MODEL.RELDN_PRECISION == "bf16"
    words = ("--output", "o", "--device", "cuda", "--precision", "bf16", "--seed", 0, "optimizer.lr=0.5")
    cfg = load_run_config(train_args(*words, config=LAZY), OPTIONS, weights=weights).cfg
    train = cfg.train
    found = (train.init_checkpoint, train.output_dir, train.device, train.seed, cfg.optimizer.lr)
    assert found == ("w.pth", "o", "cuda", 0, 0.5)
    assert train.precision == "bf16"


def test_options_that_are_not_given_change_nothing() -> None:
    before = load_run_config(train_args(), ()).cfg
    assert load_run_config(train_args(), OPTIONS).cfg == before


def test_options_of_an_evaluation() -> None:
    words = ["--task", "prdcls", "--dataset", "reldn_scenes_val", "--protocol", "motifs", "reldn"]
    words += ["--confusion-subset", "MODEL.DEVICE", "cpu"]
    args = args_of("evaluate", "--config-file", SCENES, *words)
    cfg = load_run_config(args, ("task", "dataset", "protocol", "confusion_subset")).cfg
    test = cfg.MODEL.ROI_RELATION_HEAD.TEST
    assert (test.TASK, [*test.PROTOCOLS], test.CONFUSION_SUBSET) == ("prdcls", ["motifs", "reldn"], True)
    assert cfg.DATASETS.TEST == ("reldn_scenes_val",) and cfg.MODEL.DEVICE == "cpu"


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        (
            SCENES,
            ["--device", "cpu", "MODEL.DEVICE", "cuda"],
            "--device and the override MODEL.DEVICE set the same",
        ),
        (SCENES, ["SEED", "1", "--seed", "1"], "--seed and the override SEED set the same: leave one out"),
        (SCENES, ["--output", "x", "OUTPUT_DIR", "x"], "--output and the override OUTPUT_DIR set the same"),
        (
            LAZY,
            ["--device", "cpu", "train.device=cuda"],
            "--device and the override train.device set the same",
        ),
    ],
)
def test_an_option_and_an_override_of_one_key_are_refused(
    config: str, words: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_run_config(train_args(*words, config=config), OPTIONS)


def test_the_config_lies_beside_the_weights(run_folder: Path, tiny_config: TinyConfig) -> None:
    (run_folder / "model_final.pth").touch()
    weights = find_weights(str(run_folder))
    args = args_of("evaluate", "--weights", run_folder)
    with pytest.raises(ValueError, match=r"no config\.yaml beside it: give its config as --config-file"):
        load_run_config(args, ("weights",), weights=weights)
    (run_folder / "config.yaml").write_text(tiny_config("SEED", "7").dump())
    cfg = load_run_config(args, ("weights",), weights=weights).cfg
    assert isinstance(cfg, CfgNode) and cfg.SEED == 7
    assert str(run_folder / "model_final.pth") == cfg.MODEL.WEIGHTS
    # A config that is named goes before it.
    args = args_of("evaluate", "--weights", run_folder, "--config-file", SCENES)
    assert load_run_config(args, ("weights",), weights=weights).cfg.SEED != 7
    args = args_of("evaluate", "--weights", "https://example.org/x.pkl")
    with pytest.raises(ValueError, match=r"--weights https://example\.org/x\.pkl: there is no config"):
        load_run_config(args, ("weights",), weights=find_weights(args.weights))


def test_a_misspelt_config_is_answered_with_similar_names() -> None:
    with pytest.raises(FileNotFoundError, match=r"did you mean scenes/reldn\.yaml"):
        load_run_config(train_args(config="scenes/redln.yaml"))


# --- errors and exit statuses


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Runs a command whose work is a given function, as `main` does."""

    def run(work: Callable[[Namespace], int | None], **options: Any) -> int:
        module = ModuleType("made_up")
        module.__dict__["run"] = work
        monkeypatch.setitem(sys.modules, "reldn_d2.cli.made_up", module)
        return run_command("made_up", argparse.Namespace(verbose=False, **options))

    yield run


def raises(error: BaseException) -> Callable[[Namespace], int]:
    def work(args: Namespace) -> int:
        raise error

    return work


def test_the_status_of_a_command_is_that_of_its_work(command: Callable[..., int]) -> None:
    assert command(lambda args: 0) == 0
    assert command(lambda args: 1) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("SOLVER.MAX_ITER is 0: give more"), "SOLVER.MAX_ITER is 0: give more"),
        (FileNotFoundError("x.json does not exist"), "x.json does not exist"),
        (FileNotFoundError(2, "No such file or directory", "x.json"), "x.json: No such file or directory"),
        (
            PermissionError(13, "Permission denied", "/x"),
            f"/x can't be used (Permission denied): give user {os.geteuid()} the permission to use it, or "
            "use a copy in another folder",
        ),
        (
            OSError(24, "Too many open files"),
            "Too many open files: raise `ulimit -n`, or use fewer data loader workers",
        ),
        (
            ValueError(
                "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
                'last):\n  File "images.py", line 3\nValueError: Image a.png cannot be read: replace it\n'
            ),
            "Image a.png cannot be read: replace it",
        ),
        (OSError("disk full"), "disk full"),
    ],
)
def test_an_expected_error_is_one_line_and_status_2(
    command: Callable[..., int], capsys: Captured, error: Exception, message: str
) -> None:
    assert command(raises(error)) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


def test_verbose_shows_the_traceback(command: Callable[..., int], capsys: Captured) -> None:
    module = ModuleType("made_up")
    module.__dict__["run"] = raises(ValueError("wrong"))
    sys.modules["reldn_d2.cli.made_up"] = module
    try:
        assert run_command("made_up", Namespace(verbose=True)) == 2
    finally:
        del sys.modules["reldn_d2.cli.made_up"]
    error = capsys.readouterr().err
    assert error.startswith("Traceback (most recent call last):") and "in work" in error
    assert error.endswith("ValueError: wrong\nerror: wrong\n")


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("out of memory"), AssertionError()])
def test_an_unexpected_error_keeps_its_traceback(command: Callable[..., int], error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        command(raises(error))
    assert raised.value is error


def test_ctrl_c_is_one_line_and_status_130(command: Callable[..., int], capsys: Captured) -> None:
    assert command(raises(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "interrupted: finished results are kept\n")
    assert command(raises(InterruptedByUserError("3 of 4 are done"))) == 130
    assert capsys.readouterr() == ("", "interrupted: 3 of 4 are done\n")


def test_ctrl_c_during_the_import_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "reldn_d2.cli.common", Interrupted("common"))
    assert main(["compare", "--base", "x", "--input", "y"]) == 130
    assert capsys.readouterr() == ("", "interrupted: nothing was started\n")


def two_processes(folder: Path, **options: Any) -> dict[str, Any]:
    """Options of `add_launch`; the processes meet through a file, because a free port may be taken."""
    address = (folder / "rendezvous").as_uri()
    return {"num_gpus": 2, "num_machines": 1, "machine_rank": 0, "dist_url": address, **options}


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (failing_commands.fails_as_expected, "the file x.json is empty: give another one"),
        pytest.param(
            failing_commands.fails_in_the_second,
            "x.json: No such file or directory",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_expected_error_in_two_processes_is_one_line(
    command: Callable[..., int],
    tmp_path: Path,
    capsys: Captured,
    work: Callable[[Namespace], None],
    message: str,
) -> None:
    options = two_processes(tmp_path, file="x.json")
    assert command(lambda args: launched(work, args), **options) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.slow
def test_an_unexpected_error_in_two_processes_keeps_its_traceback(
    command: Callable[..., int], tmp_path: Path
) -> None:
    options = two_processes(tmp_path, file="x.json")
    with pytest.raises(ProcessRaisedException, match=r"KeyError: 'x\.json'"):
        command(lambda args: launched(failing_commands.breaks, args), **options)


@pytest.mark.parametrize(("code", "how"), [(-9, "was ended by SIGKILL"), (3, "ended with status 3")])
def test_a_process_that_was_ended_is_one_line(
    command: Callable[..., int], tmp_path: Path, capsys: Captured, code: int, how: str
) -> None:
    error = ProcessExitedException("ended", error_index=1, error_pid=7, exit_code=code)
    assert command(raises(error)) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: process 1 {how}; where memory is short") and message.count("\n") == 1


def test_another_machine_that_ends_at_the_start_is_one_line(
    command: Callable[..., int], capsys: Captured
) -> None:
    trace = "-- Process 0 --\nTraceback\n  File x\nRuntimeError: [/gloo/transport/tcp/pair.cc:5] Read error"
    assert command(raises(ProcessRaisedException(trace, error_index=0, error_pid=7))) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: another process of this run has ended, or does not answer (RuntimeE")
    assert message.count("\n") == 1


@pytest.mark.parametrize(("handler", "count"), [(signal.SIG_IGN, 1), (signal.default_int_handler, 0)])
def test_processes_that_ignore_ctrl_c_end_with_their_parent(
    monkeypatch: pytest.MonkeyPatch, handler: Any, count: int
) -> None:
    """PyTorch ends the others by Ctrl-C."""
    called: list[None] = []
    monkeypatch.setattr(common, "end_with_parent", lambda: called.append(None))
    monkeypatch.setattr(signal, "getsignal", lambda _: handler)
    common._in_process(lambda args: None, Namespace(num_machines=1))
    assert len(called) == count


def test_one_process_runs_here(command: Callable[..., int], tmp_path: Path, capsys: Captured) -> None:
    options = two_processes(tmp_path, num_gpus=1, file="x.json")
    assert command(lambda args: launched(failing_commands.fails_as_expected, args), **options) == 2
    assert capsys.readouterr().err == "error: the file x.json is empty: give another one\n"


@pytest.fixture
def started_by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of the first of two processes."""
    place = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    for name, value in {**place, "MASTER_ADDR": "localhost", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize("options", [{"num_gpus": 2}, {"num_gpus": 1, "num_machines": 2}])
def test_torchrun_and_the_options_of_the_launcher_exclude_each_other(
    started_by_torchrun: None,
    command: Callable[..., int],
    tmp_path: Path,
    capsys: Captured,
    options: dict[str, int],
) -> None:
    assert command(lambda args: launched(raises(KeyError()), args), **two_processes(tmp_path, **options)) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: torchrun has started this process") and "--num-machines" in message


def test_a_recipe_is_not_for_torchrun(started_by_torchrun: None, capsys: Captured) -> None:
    message = line_of_refusal(capsys, "train", "--recipe", "small", "--data", "party.yaml")
    assert message.startswith("--recipe trains in one process, and torchrun has started 2")


def test_a_process_leaves_its_group_before_it_ends_unless_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(common.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(common.distributed, "destroy_process_group", lambda: said.append("left"))
    common._in_process(lambda args: said.append("worked"), Namespace(num_machines=1))
    assert said == ["worked", "left"]
    with pytest.raises(KeyError):
        common._in_process(raises(KeyError()), Namespace(num_machines=1))
    assert said == ["worked", "left"]


@pytest.mark.parametrize(
    "url", ["127.0.0.1:5000", "tcp://127.0.0.1", "tcp://:5000", "tcp://h:0", "tcp://h:70000", "tcp://[h:1"]
)
def test_an_address_without_host_or_port_is_refused_at_once(
    command: Callable[..., int], tmp_path: Path, capsys: Captured, url: str
) -> None:
    options = two_processes(tmp_path, num_machines=2, dist_url=url)
    assert command(lambda args: launched(raises(KeyError()), args), **options) == 2
    assert capsys.readouterr().err.startswith(
        f"error: --dist-url {url}: give the address of the first machine as tcp:"
    )


@pytest.mark.parametrize("rank", [-1, 2])
def test_a_machine_behind_the_last_one_is_refused(
    command: Callable[..., int], tmp_path: Path, capsys: Captured, rank: int
) -> None:
    options = two_processes(tmp_path, num_machines=2, machine_rank=rank)
    assert command(lambda args: launched(raises(KeyError()), args), **options) == 2
    assert capsys.readouterr().err.startswith(f"error: --machine-rank {rank} is not from 0 to 1")
