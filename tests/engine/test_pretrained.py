"""Models that are saved and loaded again: the same answers, and nothing damaged, changed or half written."""

import inspect
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

import reldn_d2
from reldn_d2.checkpoint import read_checkpoint
from reldn_d2.checkpoint.formats import write_weights
from reldn_d2.engine import (
    EvaluationInfo,
    ModelInfo,
    RelationPredictor,
    TrainingInfo,
    find_pretrained,
    load_config,
)
from reldn_d2.engine.pretrained import folder as saved_folder
from reldn_d2.engine.pretrained import model as pretrained_model
from reldn_d2.engine.pretrained.neutral_config import neutral_config
from reldn_d2.engine.pretrained.origin import info_of_run
from reldn_d2.engine.resumable_evaluation import evaluation_identity
from reldn_d2.engine.summary import save_task_results
from reldn_d2.structures import Vocabulary
from reldn_d2.utils.io import file_digest
from tests.builders.saved_models import (
    SMALL,
    SUMS,
    content,
    list_again,
    no_network,
    numbers,
    photo,
    predictor_of,
    settings,
    small_predictor,
)
from tests.builders.tiny_models import TinyConfig
from tests.builders.tiny_runs import KINDS, arguments, train

FILES = ["README.md", SUMS, "config.yaml", "model.json", "model.safetensors"]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> RelationPredictor:
    return small_predictor(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def saved(predictor: RelationPredictor, tmp_path: Path) -> Path:
    """A folder of `save_pretrained`."""
    folder = tmp_path / "saved"
    predictor.save_pretrained(folder)
    return folder


def refusal(folder: Path | str, **options: Any) -> str:
    with pytest.raises((OSError, ValueError)) as error:
        find_pretrained(folder, **options)
    return str(error.value)


# --- the same answers


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_answers_as_the_saved_one(kind: str, tmp_path: Path) -> None:
    """To the bit, without the network, and wherever the folder is; at half precision nearly."""
    predictor = predictor_of(kind, tmp_path / "here")
    predictor.save_pretrained(tmp_path / "saved")
    predictor.save_pretrained(tmp_path / "half", half_precision=True)
    shutil.rmtree(tmp_path / "here")
    (tmp_path / "saved").rename(tmp_path / "moved")
    expected = numbers(predictor(photo()))
    assert len(expected["relations.scores"]) > 10
    with no_network():
        loaded = reldn_d2.from_pretrained(str(tmp_path / "moved"), device="cpu")
        half = reldn_d2.from_pretrained(tmp_path / "half", device="cpu")
    assert loaded.thing_classes == predictor.thing_classes
    assert loaded.predicate_classes == predictor.predicate_classes
    assert not loaded.model.training
    found = numbers(loaded(photo()))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    whole, rounded = predictor.model.state_dict(), half.model.state_dict()
    for name, value in whole.items():
        wanted = value.half().float() if value.dtype is torch.float32 and value.dim() > 1 else value
        assert torch.equal(rounded[name], wanted), name
    best = (numbers(x(photo()))["relations.scores"][:5] for x in (predictor, half))
    torch.testing.assert_close(*best, rtol=0.05, atol=0.01)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "moved")]
    assert sizes[0] < 0.6 * sizes[1]


def test_the_same_model_gives_the_same_folder(predictor: RelationPredictor, tmp_path: Path) -> None:
    for name in ("one", "two"):
        predictor.save_pretrained(tmp_path / name)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    reldn_d2.from_pretrained(tmp_path / "one", device="cpu").save_pretrained(tmp_path / "again")
    assert content(tmp_path / "again") == content(tmp_path / "one")


def test_the_short_way_has_the_same_arguments() -> None:
    short, long = (
        inspect.signature(x) for x in (reldn_d2.from_pretrained, RelationPredictor.from_pretrained)
    )
    described = [
        {name: (x.kind, x.default) for name, x in found.parameters.items()} for found in (short, long)
    ]
    assert described[0] == described[1]
    with pytest.raises(TypeError, match=r"^from_pretrained\(\) got an unexpected keyword argument 'devise'"):
        reldn_d2.from_pretrained("scenes-tiny", devise="cpu")  # type: ignore[call-arg]


def test_every_argument_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {
        **{"device": "cpu", "revision": "v1", "token": "t", "cache_dir": "c", "sha256": "0" * 64},
        **{"local_files_only": True, "force_download": True, "trust": True},
    }
    monkeypatch.setattr(RelationPredictor, "from_pretrained", lambda name, **options: (name, options))
    assert reldn_d2.from_pretrained("x", **given) == ("x", given)  # type: ignore[comparison-overlap]


def test_a_device_that_is_not_here_is_named_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(pretrained_model, "find_pretrained", None)
    with pytest.raises(ValueError) as error:
        reldn_d2.from_pretrained("scenes-tiny", device="cuda")
    assert str(error.value) == "device is 'cuda', but PyTorch finds no GPU here: give device=\"cpu\""
    with pytest.raises(ValueError, match=r"device is 'cuda:0', but PyTorch finds no GPU"):
        reldn_d2.from_pretrained("scenes-tiny", device=0)
    with pytest.raises(ValueError, match="device is '': write cpu or cuda"):
        reldn_d2.from_pretrained("scenes-tiny", device="")


# --- what is in the folder


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_machine_is_in_the_folder(kind: str, tmp_path: Path) -> None:
    predictor = predictor_of(kind, tmp_path / "home" / "jane")
    cfg = predictor.parts.cfg
    places = {
        "yaml": {
            "DATASETS.DETECTION_FILES_TEST": ("/home/jane/boxes.npz",),
            "DATASETS.DETECTION_FILES_TRAIN": ("/home/jane/boxes.npz",),
            "MODEL.ROI_RELATION_HEAD.WEIGHTS": "/home/jane/x.pth",
            "TEST.EXPECTED_RESULTS": [["sgdet/motifs", "R@50", 3.0, 1.0]],
        },
        "python": {
            "datasets.train_detections": ["/home/jane/boxes.npz"],
            "datasets.test_detections": ["/home/jane/boxes.npz"],
            "train.relation_checkpoint": "/home/jane/x.pth",
        },
    }
    if kind == "yaml":
        cfg.defrost()
    for key, value in places[kind].items():
        predictor.parts.set_key(key, value)
    before = settings(predictor)
    predictor.save_pretrained(tmp_path / "saved")
    assert settings(predictor) == before
    files = content(tmp_path / "saved")
    assert list(files) == FILES
    for name, text in files.items():
        for private in (str(tmp_path), "jane", "reldn_scenes", "/work", "/tmp"):
            assert private.encode() not in text, (name, private)
    after = settings(reldn_d2.from_pretrained(tmp_path / "saved", device="cpu"))
    changed = {key for key in before if before[key] != after[key]}
    allowed = {
        *("OUTPUT_DIR", "MODEL.WEIGHTS", "MODEL.ROI_RELATION_HEAD.WEIGHTS", "TEST.EXPECTED_RESULTS"),
        *(f"DATASETS.{name}" for name in ("TRAIN", "TEST", "STATISTICS")),
        *(f"DATASETS.DETECTION_FILES_{name}" for name in ("TRAIN", "TEST")),
        *("train.output_dir", "train.init_checkpoint", "train.relation_checkpoint"),
        *(
            "datasets.train",
            "datasets.test",
            "datasets.statistics",
            "datasets.train_detections",
            "datasets.test_detections",
        ),
    }
    # In a Python config, other keys refer to these.
    assert {key for key in changed if key not in allowed and not key.startswith("dataloader.")} == set()


def test_digests_are_those_of_sha256sum(saved: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=saved, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{name}: OK" for name in FILES if name != SUMS]


def test_digests_may_have_capital_letters(saved: Path) -> None:
    """As other programs write them; `sha256sum -c` takes them."""
    lines = (line.split("  ") for line in (saved / SUMS).read_text().splitlines())
    (saved / SUMS).write_text("".join(f"{digest.upper()}  {name}\n" for digest, name in lines))
    subprocess.run(["sha256sum", "-c", SUMS], cwd=saved, capture_output=True, check=True)
    assert find_pretrained(saved).path == saved


def test_the_prior_is_among_the_weights(saved: Path, predictor: RelationPredictor) -> None:
    (name,) = (name for name in predictor.model.state_dict() if name.endswith("log_prior"))
    found = read_checkpoint(saved / "model.safetensors")
    assert torch.equal(found["model"][name], predictor.model.state_dict()[name])
    assert found["vocabulary"]["thing_classes"] == list(predictor.thing_classes)


def test_a_place_in_another_key_is_not_saved(tiny_config: TinyConfig) -> None:
    cfg = tiny_config("MODEL.RELDN_TIMM.NAME", "hf-hub:jane/private")
    with pytest.raises(ValueError) as error:
        neutral_config(cfg)
    assert str(error.value) == (
        "the config can't travel with the model: config.yaml has MODEL.RELDN_TIMM.NAME: "
        "'hf-hub:jane/private', but what lies beside weights names nothing outside: no address, no "
        "absolute path, no '..'"
    )


def test_a_part_without_a_name_is_not_saved() -> None:
    given = arguments("python")
    cfg = load_config(given.config_file, given.opts)
    OmegaConf.update(cfg, "model.proposal_generator.nms_thresh", lambda: 3, merge=False, force_add=True)
    with pytest.raises(ValueError, match=r"can't travel with the model: model\.\w+\.nms_thresh.*lambda"):
        neutral_config(cfg)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    broken = small_predictor(tmp_path)
    with torch.no_grad():
        next(iter(broken.model.parameters())).view(-1)[0] = float("nan")
    with pytest.raises(ValueError, match=r"the model has 1 parameters that are not finite.*1 NaN of"):
        broken.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


# --- what is known of a model


def test_a_training_says_how_the_model_was_made(tmp_path: Path) -> None:
    """And the numbers of exactly its weights; those of other weights in the same folder are not taken."""
    start = small_predictor(tmp_path / "start").parts.weights
    _, results = train("yaml", *SMALL, output=tmp_path / "run", weights=start, seed=5, max_iter=2)
    predictor = reldn_d2.from_pretrained(tmp_path / "run", device="cpu")
    info = predictor.info
    assert info.training == TrainingInfo(
        package_version=reldn_d2.__version__,
        iterations=2,
        data_sets=("reldn_scenes_tiny_train",),
        images=16,
        seed=5,
    )
    found = {f"{x.task}/{x.protocol}": x for x in info.evaluations}
    assert found.keys() == results.keys() and "prdcls/motifs" in found
    motifs = found["prdcls/motifs"]
    assert motifs.data_set == "reldn_scenes_tiny_test" and motifs.notes == ()
    assert motifs.metrics["R@50"] == results["prdcls/motifs"]["R@50"]
    predictor.save_pretrained(tmp_path / "saved")
    assert reldn_d2.from_pretrained(tmp_path / "saved", device="cpu").info == info
    card = (tmp_path / "saved" / "README.md").read_text()
    for words in (
        "R@50",
        f"{motifs.metrics['R@50']:.2f}",
        "reldn_scenes_tiny_train",
        "| iterations      | 2 ",
    ):
        assert words in card
    shutil.copy(start, tmp_path / "run" / "model_other.pth")
    other = reldn_d2.from_pretrained(tmp_path / "run" / "model_other.pth", device="cpu")
    assert other.info == ModelInfo()
    wider = RelationPredictor(
        load_config(
            str(tmp_path / "run" / "config.yaml"),
            ["MODEL.WEIGHTS", str(tmp_path / "run" / "model_final.pth"), "INPUT.MIN_SIZE_TEST", "128"],
        )
    )
    assert not wider.info.evaluations and wider.info.training == replace(info.training, package_version=None)


def test_files_of_evaluations_with_other_contents_are_named(tmp_path: Path) -> None:
    """The folder of a training may come from anybody."""
    predictor = small_predictor(tmp_path)
    file = tmp_path / "inference" / "x" / "sgdet" / "evaluation.json"
    file.parent.mkdir(parents=True)
    identity = evaluation_identity(predictor.parts, predictor.model)
    results = {"sgdet/motifs": {"R@50": 1.5, "R@20": float("nan")}}
    whole = {"data_set": "x", "identity": identity, "results": results}

    def info_with(**changes: Any) -> ModelInfo:
        file.write_text(json.dumps({**whole, **changes}))
        return info_of_run(predictor.parts, predictor.model)

    assert info_with().evaluations == (EvaluationInfo("x", "sgdet", "motifs", {"R@50": 1.5}),)
    assert not info_with(identity={**identity, "weights (sha256)": "0123"}).evaluations
    for changes in (
        {"results": [3]},
        {"results": {"sgdet/motifs": 3}},
        {"results": {"sgdet/motifs": {"R@50": "high"}}},
        {"data_set": 3},
        {"notes": "none"},
    ):
        with pytest.raises(ValueError, match=r"evaluation\.json: .* is not "):
            info_with(**changes)
    file.write_text("[")
    assert not info_of_run(predictor.parts, predictor.model).evaluations


def test_precomputed_boxes_are_noted(tmp_path: Path) -> None:
    predictor = small_predictor(tmp_path, "DATASETS.DETECTION_FILES_TEST", "('boxes.npz',)")
    identity = evaluation_identity(predictor.parts, predictor.model)
    predictor.parts.output_dir = str(tmp_path)
    save_task_results(predictor.parts, "x", identity, {"sgdet/motifs": {"R@50": 1.5}, "bbox": {"AP": 3.0}})
    (found,) = info_of_run(predictor.parts, predictor.model).evaluations
    assert found.notes == ("x: where the task is sgdet, the boxes are precomputed detections.",)


def test_what_the_author_adds_is_kept(predictor: RelationPredictor, tmp_path: Path) -> None:
    info = ModelInfo(
        description="Cups.\nAnd tables.",
        training=TrainingInfo(iterations=7),
        evaluations=(EvaluationInfo("mine", "sgdet", "motifs", {"R@50": 12.5}, ("1 image is missing.",)),),
        license="cc-by-4.0",
        data_notice="Photos by Jörg, CC BY 4.0.",
    )
    predictor.save_pretrained(tmp_path / "saved", info=info)
    assert find_pretrained(tmp_path / "saved").info == info
    assert (tmp_path / "saved" / "NOTICE").read_text() == "Photos by Jörg, CC BY 4.0.\n"
    assert "license: cc-by-4.0" in (tmp_path / "saved" / "README.md").read_text()
    predictor.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved" / "NOTICE").exists()


def test_numbers_are_those_of_the_weights_in_the_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of weights before rounding are called so, and those of other weights or settings are left out."""
    numbers = (EvaluationInfo("mine", "sgdet", "motifs", {"R@50": 12.5}),)
    info = ModelInfo(evaluations=numbers)
    small_predictor(tmp_path / "trained").save_pretrained(tmp_path / "whole", info=info)
    whole = reldn_d2.from_pretrained(tmp_path / "whole", device="cpu")
    assert whole.info == info
    whole.save_pretrained(tmp_path / "half", half_precision=True)
    half = reldn_d2.from_pretrained(tmp_path / "half", device="cpu")
    rounded = replace(info, measured_before_rounding=True)
    assert half.info == rounded
    half.save_pretrained(tmp_path / "again")
    card = (tmp_path / "again" / "README.md").read_text()
    assert find_pretrained(tmp_path / "again").info == rounded
    assert "measured before the weights were rounded" in card and "stored in float32" in card
    # Numbers of weights that are rounded already, and stay as they are.
    half.save_pretrained(tmp_path / "own", info=info, half_precision=True)
    assert find_pretrained(tmp_path / "own").info == info
    assert "before the weights were rounded" not in (tmp_path / "own" / "README.md").read_text()
    assert "not saved" not in caplog.text
    with torch.no_grad():
        next(iter(half.model.parameters())).view(-1)[0] += 1
    half.save_pretrained(tmp_path / "changed")
    assert find_pretrained(tmp_path / "changed").info == ModelInfo()
    assert "its 1 evaluations of that time are not saved" in caplog.text
    measured_now = (EvaluationInfo("mine", "sgdet", "motifs", {"R@50": 13.5}),)
    half.save_pretrained(tmp_path / "new", info=replace(half.info, evaluations=numbers + measured_now))
    assert find_pretrained(tmp_path / "new").info == ModelInfo(evaluations=measured_now)
    whole.parts.set_key("INPUT.MIN_SIZE_TEST", 128)
    whole.save_pretrained(tmp_path / "wider")
    assert find_pretrained(tmp_path / "wider").info == ModelInfo()


def test_the_card_has_the_name_that_loads_the_model(predictor: RelationPredictor, tmp_path: Path) -> None:
    for name, title in (("cups-tiny", "cups-tiny"), ("jane/cups", "cups")):
        predictor.save_pretrained(tmp_path / "saved", name=name)
        card = (tmp_path / "saved" / "README.md").read_text()
        assert f"# {title}\n" in card and f'from_pretrained("{name}")' in card and "FOLDER" not in card
    with pytest.raises(ValueError, match="name is 'my cups': write owner/name, or a name without a slash"):
        predictor.save_pretrained(tmp_path / "saved", name="my cups")


def test_nothing_is_invented(saved: Path) -> None:
    written = json.loads((saved / "model.json").read_text())
    assert written == {
        "format_version": 1,
        "saved_by": f"reldn-d2 {reldn_d2.__version__}",
        "precision": "float32",
        "license": "unknown: ask the author",
        "data_notice": "unknown: ask the author",
    }
    assert find_pretrained(saved).info == ModelInfo()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "has format_version 2, and this release reads up to 1: update"),
        ({"format_version": None}, "has format_version None"),
        ({"license": 3}, "license is not a text"),
        ({"measured_before_rounding": 1}, "measured_before_rounding is not true or false"),
        ({"training": []}, "training is not an object"),
        ({"training": {"iterations": "7"}}, "iterations is not a whole number"),
        ({"evaluations": [{"metrics": {"R@50": "high"}}]}, "metrics, 'R@50' is not a number"),
        ({"evaluations": [{"metrics": {"R@50": float("nan")}}]}, "metrics, 'R@50' is not a number"),
        ({"evaluations": [{"metrics": {"R@50": 10**400}}]}, "metrics, 'R@50' is not a number"),
        ({"evaluations": [3]}, "evaluations is not an object"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:30],
)
def test_a_description_of_another_kind(saved: Path, changes: dict[str, Any], message: str) -> None:
    file = saved / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    list_again(saved)
    text = refusal(saved)
    assert message in text and str(file) in text


# --- half written, damaged, changed


@contextmanager
def stopping_after(number: int) -> Iterator[None]:
    """Inside, the file after so many complete ones can't be written."""
    written = 0
    original = saved_folder.atomic_write

    @contextmanager
    def write(path: Path) -> Iterator[IO[bytes]]:
        nonlocal written
        if written == number:
            raise KeyboardInterrupt
        with original(path) as file:
            yield file
        written += 1

    def write_weights(path: Path, **_: Any) -> None:
        with write(path) as file:
            file.write(b"weights")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_folder, "atomic_write", write)
        patch.setattr(pretrained_model, "write_weights", write_weights)
        yield


@pytest.mark.parametrize("number", range(len(FILES)))
@pytest.mark.parametrize("is_new", [True, False], ids=["new folder", "over another model"])
def test_a_half_written_folder_is_never_loaded(
    number: int, is_new: bool, predictor: RelationPredictor, tmp_path: Path
) -> None:
    folder = tmp_path / "saved"
    if not is_new:
        predictor.save_pretrained(folder)
    with stopping_after(number), pytest.raises(KeyboardInterrupt):
        predictor.save_pretrained(folder)
    message = refusal(folder)
    if number or not is_new:
        assert message.startswith(f"{folder} has no {SUMS}, ")
    # The remains are no obstacle.
    predictor.save_pretrained(folder)
    assert find_pretrained(folder).path == folder


def test_the_card_of_a_save_that_was_interrupted_is_replaced(
    predictor: RelationPredictor, tmp_path: Path
) -> None:
    """It says another licence than the other files would."""
    folder = tmp_path / "saved"
    predictor.save_pretrained(folder, info=ModelInfo(license="mit"))
    with stopping_after(1), pytest.raises(KeyboardInterrupt):
        predictor.save_pretrained(folder)
    predictor.save_pretrained(folder, info=ModelInfo(license="cc0-1.0"))
    assert "license: cc0-1.0" in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "model.json"])
def test_damaged_and_missing_files_are_named(saved: Path, name: str) -> None:
    file = saved / name
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert f"{saved}: {name} is damaged or was changed" in refusal(saved)
    assert "a check against damage only" in refusal(saved)
    file.unlink()
    assert f"{saved} lacks {name}, which {SUMS} lists" in refusal(saved)
    file.write_bytes(whole)
    sums = saved / SUMS
    lines = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(line for line in lines if name not in line))
    assert f"{SUMS} does not list {name}" in refusal(saved)
    sums.write_text("nonsense\n")
    assert f"{SUMS} has the line 'nonsense', which is not a digest and a name" in refusal(saved)
    sums.unlink()
    assert f"{saved} has no {SUMS}, which is written last" in refusal(saved)
    assert f"{saved} has no {SUMS}, which is written last" in refusal(saved / "model.safetensors")


def test_files_for_people_may_be_edited_and_others_lie_there(saved: Path) -> None:
    (saved / "README.md").write_text("My own words.")
    (saved / "notes.txt").write_text("Nothing.")
    assert find_pretrained(saved).info == ModelInfo()


def test_a_known_digest_covers_every_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = file_digest(saved / SUMS)
    assert find_pretrained(saved, sha256=digest.upper()).weights_file == saved / "model.safetensors"
    config = saved / "config.yaml"
    config.write_text(config.read_text().replace("SEED: -1", "SEED: 3"))
    other = list_again(saved)
    assert find_pretrained(saved).path == saved  # its own digests are those of whoever changed it

    def read(*_: object, **__: object) -> None:
        raise AssertionError("a file was read before its digest was compared")

    monkeypatch.setattr(saved_folder.ModelInfo, "from_json", read)
    monkeypatch.setattr(pretrained_model, "load_config", read)
    with pytest.raises(ValueError) as error:
        reldn_d2.from_pretrained(saved, sha256=digest)
    assert str(error.value).startswith(
        f"{saved} is not the expected model: its {SUMS} has sha256 {other}, not {digest}. No other "
        "file of it was read"
    )
    assert "sha256 takes 64 hexadecimal digits, not 'abc'" in refusal(saved, sha256="abc")


VOCABULARIES: dict[str, Callable[[list[str]], list[str]]] = {
    "one too few": lambda names: names[:-1],
    "one too many": lambda names: [*names, "more"],
    "one twice": lambda names: [*names[:-1], names[0]],
    "an empty name": lambda names: [*names[:-1], ""],
}


@pytest.mark.parametrize("kind", ["thing_classes", "predicate_classes"])
@pytest.mark.parametrize("change", VOCABULARIES)
def test_names_that_do_not_fit_the_model_are_refused(saved: Path, kind: str, change: str) -> None:
    file = saved / "model.safetensors"
    found = read_checkpoint(file)
    names = found["vocabulary"]
    write_weights(file, found["model"], Vocabulary(**{**names, kind: VOCABULARIES[change](names[kind])}))
    list_again(saved)
    with pytest.raises(ValueError, match=rf"{file} has \d+ {kind} in its 'vocabulary', .*name of its own"):
        reldn_d2.from_pretrained(saved, device="cpu")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "MODEL.PIXEL_MEAN",
            [float("nan"), 0.0, 0.0],
            r"MODEL.PIXEL_MEAN is \[nan, 0.0, 0.0\]: give a list of finite numbers",
        ),
        ("MODEL.PIXEL_STD", [0.0, 1.0, 1.0], "MODEL.PIXEL_STD is .*: give a list of finite numbers above 0"),
        ("INPUT.FORMAT", "XYZ", "INPUT.FORMAT is 'XYZ': give a format of pictures"),
        ("INPUT.MIN_SIZE_TEST", -5, "INPUT.MIN_SIZE_TEST is -5: give a whole number of 0 or more pixels"),
        ("INPUT.MAX_SIZE_TEST", 0, "INPUT.MAX_SIZE_TEST is 0: give a whole number of 1 or more pixels"),
        ("MODEL.META_ARCHITECTURE", "nope", "not registered .*'nope'.*correct the name, or --import"),
        ("MODEL.BACKBONE.NAME", "nope", "not registered .*'nope'.*correct the name, or --import"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isupper() else "",
)
def test_impossible_settings_of_a_saved_model_are_named(
    saved: Path, path: str, value: Any, message: str
) -> None:
    file = saved / "config.yaml"
    cfg = yaml.safe_load(file.read_text())
    node = cfg
    *sections, key = path.split(".")
    for name in sections:
        node = node[name]
    node[key] = value
    file.write_text(yaml.safe_dump(cfg))
    list_again(saved)
    with pytest.raises(ValueError, match=message):
        reldn_d2.from_pretrained(saved, device="cpu")


def test_links_out_of_the_folder_are_refused(saved: Path, tmp_path: Path) -> None:
    file, outside = saved / "config.yaml", tmp_path / "outside.yaml"
    file.rename(outside)
    file.symlink_to(outside)
    assert f"config.yaml is a link that leads out of the folder (to {outside})" in refusal(saved)
    # The hub's cache has links to its own blobs.
    snapshots = tmp_path / "models--jane--cups" / "snapshots"
    snapshots.mkdir(parents=True)
    saved.rename(snapshots / "0123")
    assert "is a link that leads out of the folder" in refusal(snapshots / "0123")
    (snapshots.parent / "blobs").mkdir()
    outside.rename(snapshots.parent / "blobs" / "abcd")
    link = snapshots / "0123" / "config.yaml"
    link.unlink()
    link.symlink_to("../../blobs/abcd")
    assert find_pretrained(snapshots / "0123").config_file == link
    # A folder that is a link itself is the user's business.
    (tmp_path / "link").symlink_to(snapshots / "0123")
    assert find_pretrained(tmp_path / "link").path == tmp_path / "link"


def test_saving_replaces_nothing_else(
    predictor: RelationPredictor, saved: Path, tmp_path: Path, tiny_config: TinyConfig
) -> None:
    run = tmp_path / "training"
    run.mkdir()
    (run / "config.yaml").write_text(tiny_config().dump())
    before = content(run)
    with pytest.raises(
        ValueError, match=r"has config\.yaml, but no model\.json of this package, so it is no saved model"
    ):
        predictor.save_pretrained(run)
    assert content(run) == before
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    for text in ('{"name": "my tokenizer"}', "[", "3"):
        (tokenizer / "model.json").write_text(text)
        with pytest.raises(ValueError, match=r"has model\.json, but no model\.json of this package"):
            predictor.save_pretrained(tokenizer)
        assert content(tokenizer) == {"model.json": text.encode()}
    with pytest.raises(ValueError, match="the name of the folder is empty"):
        predictor.save_pretrained("")
    with pytest.raises(ValueError, match="is a file: give a folder"):
        predictor.save_pretrained(run / "config.yaml")
    # A card that somebody has written stays; the one of an earlier model does not.
    predictor.save_pretrained(saved, info=ModelInfo(license="mit"))
    assert "license: mit" in (saved / "README.md").read_text()
    (saved / "README.md").write_text("My own words.")
    predictor.save_pretrained(saved)
    predictor.save_pretrained(saved)
    assert (saved / "README.md").read_text() == "My own words.", "also the next time"
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "README.md").write_text("An empty repository.")
    predictor.save_pretrained(repository)
    assert (repository / "README.md").read_text() == "An empty repository."
    assert find_pretrained(repository).info == ModelInfo()


# --- names


def test_a_training_and_its_checkpoints_are_found(predictor: RelationPredictor, tmp_path: Path) -> None:
    run = tmp_path / "run"
    predictor.parts.save(run / "config.yaml")
    assert "has no finished training" in refusal(run)
    shutil.copy(predictor.parts.weights, run / "model_final.pth")
    found = find_pretrained(run)
    assert (found.weights_file, found.config_file) == (run / "model_final.pth", run / "config.yaml")
    assert found.info is None
    assert find_pretrained(run / "model_final.pth") == found
    digest = file_digest(run / "model_final.pth")
    assert find_pretrained(run, sha256=digest) == found
    assert "is not the expected file: it has sha256" in refusal(run, sha256="0" * 64)
    expected = numbers(predictor(photo()))
    answer = numbers(reldn_d2.from_pretrained(run, device="cpu")(photo()))
    assert all(torch.equal(answer[name], expected[name]) for name in expected)
    (run / "config.yaml").unlink()
    assert f"{run} has no config.yaml beside the weights" in refusal(run)


@pytest.mark.parametrize("name", [SUMS, "model.json"])
@pytest.mark.parametrize("weights", ["model_final.pth", "model_0000001.pth"])
def test_a_training_with_a_file_of_the_users_own_is_a_training(
    name: str, weights: str, predictor: RelationPredictor, tmp_path: Path
) -> None:
    predictor.parts.save(tmp_path / "config.yaml")
    shutil.copy(predictor.parts.weights, tmp_path / weights)
    if weights != "model_final.pth":
        (tmp_path / "last_checkpoint").write_text(weights)
    (tmp_path / name).write_text("mine")
    assert find_pretrained(tmp_path).weights_file == tmp_path / weights


def test_the_weights_of_a_saved_folder_stand_for_it(saved: Path) -> None:
    assert find_pretrained(saved / "model.safetensors") == find_pretrained(saved)


def test_a_file_of_safetensors_alone_is_a_checkpoint(predictor: RelationPredictor, tmp_path: Path) -> None:
    """Beside a config it needs no digests, because nobody has called it a saved model."""
    run = tmp_path / "run"
    predictor.parts.save(run / "config.yaml")
    names = Vocabulary([*predictor.thing_classes], [*predictor.predicate_classes])
    write_weights(run / "model.safetensors", predictor.model.state_dict(), names)
    loaded = reldn_d2.from_pretrained(run / "model.safetensors", device="cpu")
    assert loaded.info == ModelInfo()
    found, expected = numbers(loaded(photo())), numbers(predictor(photo()))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert f"{run} has no {SUMS}, and it lacks model.json" in refusal(run)


def test_a_name_that_stands_for_no_model_is_explained(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    with no_network():
        assert "there is no such file or folder (did you mean saved?)" in refusal(Path("savde"))
        assert "no such file or folder (did you mean authors-vg-vgg16 or" in refusal(Path("authors-vg-vgg1"))
        assert refusal("").startswith("the name of the model is empty: give the folder of a saved model or")
        assert "is the address of a file, which has no config" in refusal("https://x.org/model.pth")
        text = refusal(saved, revision="v1")
        assert f"{saved} is not on the hub, and only there are revisions: leave 'v1' out" in text


def test_the_device_is_that_of_this_machine(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert reldn_d2.from_pretrained(saved).parts.device == "cpu"
    with pytest.raises(ValueError, match="is 'cuda:1', but PyTorch finds no GPU here"):
        reldn_d2.from_pretrained(saved, device="cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pretrained_model.usual_device() == "cuda"


def test_arguments_of_an_upload_need_an_upload(predictor: RelationPredictor, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="private: these arguments are of push_to_hub"):
        predictor.save_pretrained(tmp_path / "saved", private=True)
