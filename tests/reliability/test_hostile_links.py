"""The folder of a run may come from anybody, with links in it. Nothing behind them is changed."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reldn_d2.engine import setup
from reldn_d2.engine.folder_lock import LOCK_FILE, release
from tests.builders.commands import Captured, line_of_refusal, run_reldn
from tests.builders.tiny_models import REPOSITORY
from tests.builders.tiny_runs import arguments

OLD = REPOSITORY / "tests" / "old_release"
WRITTEN = [LOCK_FILE, "log.txt", "log.txt.rank1", "LOG.TXT", "metrics.json", "events.out.tfevents.1.a.2.0"]
FOLDERS = ["inference", "inference/reldn_scenes_tiny_test", "inference/unfinished"]

Files = dict[Path, bytes]


@pytest.fixture(autouse=True)
def nothing_is_held() -> Iterator[None]:
    yield
    release()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run from a stranger."""
    return Path(shutil.copytree(OLD / "reldn", tmp_path / "run"))


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of the user, with files that have the names of results and of saved predictions."""
    victim = tmp_path / "victim"
    victim.mkdir()
    for name in ("key", "part-000-000000.npz", "summary.md", "relation_predictions.npz"):
        (victim / name).write_text("mine")
    return victim


def files_of(folder: Path) -> Files:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("name", [*WRITTEN, *FOLDERS])
def test_links_out_of_the_folder_of_weights(name: str, run: Path, victim: Path, capsys: Captured) -> None:
    link = run / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(victim if name in FOLDERS else victim / "key")
    before = files_of(victim)
    message = line_of_refusal(capsys, "evaluate", "--weights", run)
    assert message.startswith(f"{link} is a link that leads out of its folder (to {victim}")
    assert "delete it, or choose another folder (--output FOLDER or OUTPUT_DIR FOLDER)" in message
    assert files_of(victim) == before
    assert {path.name for path in run.iterdir()} - {path.name for path in (OLD / "reldn").iterdir()} == {
        name.partition("/")[0]
    }


@pytest.mark.parametrize("settings", [{}, {"resume": True}])
def test_links_in_the_folder_of_a_training(run: Path, tmp_path: Path, settings: dict[str, bool]) -> None:
    for path in run.glob("*.pth"):
        path.unlink()
    (run / "metrics.json").symlink_to(tmp_path / "new")  # a file that is not there yet
    with pytest.raises(ValueError, match=r"metrics\.json is a link that leads out of its folder"):
        setup(arguments("yaml", output=run, **settings))
    assert not (tmp_path / "new").exists()


def test_links_that_stay_inside_and_a_linked_folder(run: Path, tmp_path: Path) -> None:
    (run / "other").mkdir()
    (run / "inference").symlink_to("other")
    (run / "log.txt").symlink_to("other/log.txt")
    (run / "data").symlink_to(tmp_path)  # nothing is written there
    (tmp_path / "linked").symlink_to(run)
    setup(arguments("yaml", output=tmp_path / "linked", eval_only=True))
    assert (run / "other" / "log.txt").stat().st_size


def test_links_behind_links(run: Path, victim: Path) -> None:
    (run / "other").mkdir()
    (run / "inference").symlink_to("other")
    (run / "other" / "set").symlink_to(victim)
    (run / "other" / "again").symlink_to("../inference")
    with pytest.raises(ValueError, match=r"other/set is a link that leads out"):
        setup(arguments("yaml", output=run, eval_only=True))


def _link(path: Path) -> None:
    path.symlink_to("config.yaml")


@pytest.mark.parametrize(
    ("make", "words"), [(_link, "is a link, which no run makes"), (os.mkfifo, "is neither a file nor a")]
)
def test_a_lock_that_is_no_file(make: Callable[[Path], None], words: str, run: Path) -> None:
    make(run / LOCK_FILE)
    before = (run / "config.yaml").read_bytes()
    with pytest.raises(ValueError, match=rf"{LOCK_FILE} {words}"):
        setup(arguments("yaml", output=run, eval_only=True))
    assert (run / "config.yaml").read_bytes() == before


def test_only_our_files_are_deleted(run: Path, capsys: Captured) -> None:
    mine, ours = (
        run / "inference" / "unfinished" / "mine.txt",
        run / "inference" / "unfinished" / "part-0.npz",
    )
    mine.parent.mkdir(parents=True)
    mine.touch()
    ours.touch()
    data = ("--weights", run, "DATASETS.TEST", "('reldn_scenes_tiny_test',)")
    assert run_reldn("evaluate", *data, "--task", "prdcls", "--restart") == 0
    assert mine.exists() and not ours.exists()


def test_saved_predictions_behind_a_link_inside(run: Path, capsys: Captured) -> None:
    """The link stays in the folder, but other files are there."""
    (run / "other").mkdir()
    (run / "other" / "part-0.npz").touch()
    (run / "inference").mkdir()
    (run / "inference" / "unfinished").symlink_to("../other")
    message = line_of_refusal(capsys, "evaluate", "--weights", run, "--restart")
    assert message.startswith(f"{run}/inference/unfinished is a link, and saved predictions are deleted")
    assert (run / "other" / "part-0.npz").exists()


def test_detections_beside_weights(tmp_path: Path, victim: Path, capsys: Captured) -> None:
    folder = Path(shutil.copytree(OLD / "detector", tmp_path / "detector"))
    (folder / "detections").symlink_to(victim)
    before = files_of(victim)
    message = line_of_refusal(capsys, "cache-detections", "--weights", folder)
    assert message.startswith(f"{folder}/detections is a link that leads out of its folder")
    assert files_of(victim) == before


def test_scores_beside_saved_predictions(tmp_path: Path, victim: Path, capsys: Captured) -> None:
    folder = tmp_path / "[a]"
    folder.mkdir()
    saved = shutil.copy(OLD / "predictions_prdcls.npz", folder / "[Saved].npz")
    (folder / "[Saved]_scored").symlink_to(victim)
    before = files_of(victim)
    message = line_of_refusal(capsys, "evaluate", "--predictions", saved)
    assert message.startswith(f"{folder}/[Saved]_scored is a link that leads out of its folder")
    assert files_of(victim) == before
