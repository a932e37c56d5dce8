"""Configs are found by name: in the working directory, in this package, in Detectron2."""

from pathlib import Path

import pytest
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

from reldn_d2.engine import load_config
from reldn_d2.model_zoo import (
    CONFIGS,
    config_names,
    find_config,
    get_config_file,
    get_detectron2_config_file,
)
from tests.builders.config_files import RUNS
from tests.builders.config_files import name_of as name_in_repository
from tests.builders.tiny_models import REPOSITORY


def test_names_are_those_of_complete_runs() -> None:
    yaml = [name for name in config_names() if name.endswith(".yaml")]
    python = [name for name in config_names() if name.endswith(".py")]
    assert yaml == sorted(name_in_repository(file) for file in RUNS)
    assert python == [
        "lazy/scenes_reldn.py",
        "lazy/vrd_detector_vitdet_b.py",
        "lazy/vrd_reldn_vitdet_b.py",
    ]


@pytest.mark.parametrize("name", ["vg/reldn_vgg16.yaml", "lazy/scenes_reldn.py", "base/recipe.yaml"])
def test_a_name_is_the_file_in_the_repository(name: str) -> None:
    assert get_config_file(name) == str(REPOSITORY / "configs" / name)


@pytest.mark.parametrize("name", config_names())
def test_every_name_is_a_config_that_loads(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also its `_BASE_` and relative imports are found, from any folder."""
    monkeypatch.chdir(tmp_path)
    cfg = load_config(name)
    assert cfg.OUTPUT_DIR if name.endswith(".yaml") else cfg.train.output_dir


def test_an_unknown_name_shows_similar_ones() -> None:
    with pytest.raises(FileNotFoundError, match=r"no config 'vg/reldn_vgg61\.yaml' .*vg/reldn_vgg16\.yaml"):
        get_config_file("vg/reldn_vgg61.yaml")


def test_a_name_like_no_other_shows_none() -> None:
    with pytest.raises(FileNotFoundError) as error:
        get_config_file("???")
    assert str(error.value) == "reldn_d2 has no config '???'"


def test_a_file_in_the_working_directory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "scenes/reldn.yaml"
    assert find_config(name) == CONFIGS / name
    own = tmp_path / name
    own.parent.mkdir()
    own.write_text("OUTPUT_DIR: own\n")
    assert find_config(name) == Path(name)
    assert load_config(name).OUTPUT_DIR == "own"


def test_a_name_may_have_the_folder_of_the_checkout_in_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("configs/vg/reldn_vgg16.yaml") == CONFIGS / "vg" / "reldn_vgg16.yaml"


def test_an_absolute_path_is_that_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.touch()
    assert find_config(str(file)) == file


def test_an_address_is_read_by_detectron2(tmp_path: Path) -> None:
    class Handler(PathHandler):
        def _get_supported_prefixes(self) -> list[str]:
            return ["far://"]

        def _get_local_path(self, path: str, force: bool = False, **kwargs: object) -> str:
            return str(tmp_path / path.removeprefix("far://"))

    PathManager.register_handler(Handler(), allow_override=True)
    assert find_config("far://x.yaml") == tmp_path / "x.yaml"


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("vrd/reldn_vgg_coco.yaml", "vrd/reldn_vgg16_coco.yaml"),
        ("configs/scenes/redln.yaml", "scenes/reldn.yaml"),
        ("scenes_reldn.py", "lazy/scenes_reldn.py"),
        ("my_confg.yaml", "my_config.yaml"),  # a file in the working directory
    ],
)
def test_a_config_that_is_nowhere_shows_similar_ones(
    name: str, similar: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_config.yaml").touch()
    with pytest.raises(FileNotFoundError) as error:
        load_config(name)
    assert str(error.value).startswith(f"config file {name!r} does not exist, and ")
    assert "correct --config-file (did you mean " in str(error.value)
    assert similar in str(error.value)


def test_a_command_without_a_config_says_so() -> None:
    with pytest.raises(FileNotFoundError, match="no config is named: give one as --config-file"):
        find_config("")


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="correct --config-file"):
        load_config(str(tmp_path))


def test_configs_of_detectron2() -> None:
    assert Path(get_detectron2_config_file("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")).is_file()
    with pytest.raises(
        FileNotFoundError, match=r"detectron2.*no config 'common/trian\.py'.*common/train\.py"
    ):
        get_detectron2_config_file("common/trian.py")
