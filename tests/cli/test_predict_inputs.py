"""What `--input` of `reldn predict` finds: folders, patterns, lists, and pictures of all formats."""

import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from reldn_d2 import visualization
from reldn_d2.cli.prediction.images import InputImage, find_images
from reldn_d2.data.images import picture_endings, read_image
from tests.builders.commands import Captured, line_of_refusal
from tests.builders.fake_predictor import PredictCommand, write_picture
from tests.builders.tiny_models import TinyConfig

OUTPUT = Path("/nowhere")


@pytest.fixture
def predict(tmp_path: Path, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch) -> PredictCommand:
    return PredictCommand(tmp_path, tiny_config(), monkeypatch)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*inputs: object, output: Path = OUTPUT) -> list[tuple[str, str]]:
    """Path and name of the images."""
    images = find_images([str(x) for x in inputs], output, ()).images
    return [(str(image.path), image.name) for image in images]


def names(*inputs: object, output: Path = OUTPUT) -> list[str]:
    return [name for _, name in found(*inputs, output=output)]


# --- formats

# Formats that PIL or OpenCV can write, with the ending that stands for each.
WRITTEN = ["jpg", "png", "gif", "jp2", "avif", "ico", "tga", "ppm", "tif", "webp", "bmp", "dib", "pcx", "sgi"]
WRITTEN += ["qoi", "dds", "icns", "mpo", "xbm"]
# Older versions of PIL lack some.
WRITTEN = [ending for ending in WRITTEN if Image.registered_extensions().get(f".{ending}") in Image.SAVE]


def write_format(path: Path) -> None:
    picture = Image.new("RGB", (64, 64), (200, 120, 40))
    if path.suffix == ".ras":
        cv2.imwrite(str(path), np.asarray(picture)[..., ::-1])
    elif path.suffix == ".mpo":
        picture.save(path, format="MPO", save_all=True, append_images=[picture])
    else:
        (picture.convert("1") if path.suffix == ".xbm" else picture).save(path)


@pytest.mark.parametrize("ending", [*WRITTEN, "ras"])
def test_pictures_of_every_format_are_found_and_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    write_format(path)
    assert names(tmp_path) == [path.name]
    picture = read_image(str(path), "RGB")
    # Icons of macOS have fixed sizes.
    assert picture.shape == ((1024, 1024, 3) if ending == "icns" else (64, 64, 3))
    assert picture.dtype == np.uint8
    if ending != "xbm":
        assert np.abs(picture.reshape(-1, 3).mean(0) - [200, 120, 40]).max() < 6


def test_formats_that_start_other_programs_are_left_out() -> None:
    assert {f".{ending}" for ending in WRITTEN} <= picture_endings()
    assert (
        not {".eps", ".ps", ".wmf", ".emf", ".pdf", ".txt", ".iim", ".mpg", ".h5", ".fits"}
        & picture_endings()
    )


def test_a_folder_of_many_kinds(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / "images"
    for name in ("a.png", "c.gif", "d.jp2", "e.webp", "more/b.png"):
        write_picture(folder / name)
    touch(
        folder / "notes.txt",
        folder / "raw.CR2",
        folder / "other.cr2",
        folder / "LICENSE",
        folder / ".hidden.png",
    )
    assert predict("--input", folder) == 0
    assert [x for x in predict.results() if x.endswith("json")] == [f"{x}.json" for x in "abcde"]
    printed = capsys.readouterr().out
    assert f"{folder}: left out 2 .cr2, 1 hidden, 1 without an ending, 1 .txt\n" in printed
    assert "5 of 5 images" in printed


def test_files_of_several_pictures_are_counted(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    folder = tmp_path / "images"
    write_picture(folder / "a.png")
    one, other = Image.new("L", (64, 64), 90), Image.new("L", (64, 64), 10)
    for name in ("b.gif", "c.tif"):
        one.save(folder / name, save_all=True, append_images=[other])
    assert predict("--input", folder) == 0
    said = (
        f"2 files hold several pictures (animations or pages), the first being {folder / 'b.gif'}: the first"
    )
    assert said in capsys.readouterr().out


def test_pictures_that_can_not_be_used_are_named_and_the_others_done(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    for name in ("a.png", "z.png"):
        write_picture(folder / name)
    Image.fromarray(np.full((40, 60), 300.0, np.float32)).save(folder / "floats.tif")
    Image.new("L", (100, 60)).save(folder / "large.png")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:60])
    monkeypatch.setenv("RELDN_D2_MAX_PIXELS", "5000")
    assert predict("--input", folder) == 1
    printed = capsys.readouterr()
    assert "2 of 5 images" in printed.out
    first, second, third = sorted(printed.err.splitlines())
    assert first.startswith(f"{folder / 'cut.png'} cannot be read (")
    assert second.startswith(
        f"{folder / 'floats.tif'} can't be used: its pixels are numbers from 300.0 to 300.0"
    )
    assert third.startswith(f"{folder / 'large.png'} can't be used: 100 x 60 are more than 5,000 pixels")
    assert len((predict.output / "failures.csv").read_text().splitlines()) == 1 + 3


def test_a_wrong_bound_on_pixels_is_refused_once(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_picture(tmp_path / "images" / "a.png")
    monkeypatch.setenv("RELDN_D2_MAX_PIXELS", "large")
    message = line_of_refusal(capsys, *predict.words("--input", tmp_path / "images"))
    assert message.startswith("the environment variable RELDN_D2_MAX_PIXELS is 'large': give")


# --- folders


def test_folders_are_searched_below_and_sorted(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.JPG", "z/a.jpg", "m/c.png", "m/n/d.png"):
        touch(tmp_path / "in" / name)
    (tmp_path / "in" / "folder.png").mkdir()
    assert names(tmp_path / "in") == ["a.JPG", "b.jpg", "m/c.png", "m/n/d.png", "z/a.jpg"]
    assert found(tmp_path / "in")[2] == (str(tmp_path / "in" / "m" / "c.png"), "m/c.png")


def test_hidden_and_linked_folders_are_left_out(tmp_path: Path, capsys: Captured) -> None:
    touch(tmp_path / "in" / "a.jpg", tmp_path / "in" / ".git" / "b.jpg", tmp_path / "else" / "c.jpg")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "else")
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "linked.jpg").symlink_to(tmp_path / "else" / "c.jpg")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    assert names(tmp_path / "in") == ["a.jpg", "linked.jpg"]
    assert "left out 2 links to folders, 1 hidden, 1 .png" in capsys.readouterr().out
    # A folder that is given is searched, whatever it is.
    assert names(tmp_path / "in" / "link") == ["c.jpg"]
    assert names(tmp_path / "in" / ".git") == ["b.jpg"]


def test_a_drawing_knows_the_threshold(
    predict: PredictCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def draw(picture: np.ndarray, graph: dict[str, Any], **options: object) -> np.ndarray:
        seen.append((len(graph["entities"]), len(graph["relationships"]), options))
        return picture

    monkeypatch.setattr(visualization, "draw_scene_graph", draw)
    write_picture(tmp_path / "in" / "a.png")
    assert predict("--input", tmp_path / "in", "--format", "drawings", "--score-threshold", "0.9") == 0
    # No relationship passes, so the drawing shows entities and says which score was asked for.
    assert seen == [(2, 0, {"top_n": seen[0][2]["top_n"], "score_threshold": 0.9})]


def test_drawings_never_become_input(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / "in"
    write_picture(folder / "a.png")
    predict.output = folder / "first"
    assert predict("--input", folder) == 0
    predict.output = folder / "second"
    assert predict("--input", folder) == 0
    assert "left out 1 folder with results of this command" in capsys.readouterr().out
    assert predict("--input", folder) == 0  # the output folder is there now
    assert "1 of 1 images" in capsys.readouterr().out
    pattern = str(folder / "**" / "*.png")
    assert predict("--input", pattern, "--overwrite") == 0
    printed = capsys.readouterr().out
    assert f"{pattern}: left out 2 results of this command" in printed and "1 of 1 images" in printed
    message = line_of_refusal(capsys, *predict.words("--input", folder / "first"))
    assert message.startswith(
        f"--input {folder / 'first'}: no image in this folder or below; images end in .apng"
    )


def test_pictures_of_the_user_in_the_output_folder_are_refused(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    folder = tmp_path / "in"
    predict.output = folder / "sub"
    write_picture(folder / "1.png")
    predict.output.mkdir()
    # An empty folder is nothing to speak of.
    assert names(folder, output=predict.output) == ["1.png"] and not capsys.readouterr().out
    image = write_picture(predict.output / "more" / "2.png")
    content = image.read_bytes()
    for given in (folder, folder / "**" / "*.png"):
        for more in ((), ("--overwrite",)):
            assert line_of_refusal(capsys, *predict.words("--input", given, *more)) == (
                f"--output {predict.output} lies inside --input and has pictures that this command has not "
                f"written, such as {image}: choose another folder"
            )
    assert predict.results() == ["more"] and image.read_bytes() == content


def test_an_empty_text_is_no_input(predict: PredictCommand, capsys: Captured) -> None:
    message = line_of_refusal(capsys, *predict.words("--input", ""))
    assert message == '--input "" is no path: name a file or folder ("." is the working directory)'


def test_the_output_folder_is_no_input(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    image = write_picture(predict.output / "a.png")
    linked = tmp_path / "link.png"
    linked.symlink_to(image)
    (tmp_path / "list.txt").write_text("results/a.png\n")
    for given in (predict.output, image, linked, tmp_path / "list.txt"):
        assert "own folder" in line_of_refusal(capsys, *predict.words("--input", given))
    assert predict.results() == ["a.png"]


def test_a_folder_that_cannot_be_read_is_a_failure(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    write_picture(folder / "a.png")
    (folder / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("reldn_d2.data.sources.local_files.os.scandir", refuse)
    assert predict("--input", folder) == 1
    assert "a.json" in predict.results()
    assert re.match(rf"{folder}/closed can't be read \(Permission denied\): give ", capsys.readouterr().err)


def test_a_link_that_leads_to_itself_is_a_failure_and_the_others_are_done(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    folder = tmp_path / "in"
    write_picture(folder / "b.png")
    (folder / "a.png").symlink_to("a.png")
    (folder / "notes").symlink_to("notes")
    assert predict("--input", folder) == 1
    assert "b.json" in predict.results() and "a.json" not in predict.results()
    out, err = capsys.readouterr()
    assert "left out 1 without an ending" in out
    assert f"{folder}/a.png can't be read (Too many levels of symbolic links): its links" in err


# --- patterns


def test_patterns(tmp_path: Path, capsys: Captured) -> None:
    for name in ("a.jpg", "b.png", "c.txt", "m/d.jpg", "m/n/e.jpg", "m/.f.jpg"):
        touch(tmp_path / "in" / name)
    assert names(tmp_path / "in" / "*") == ["a.jpg", "b.png"]
    assert "/in/*: left out 1 .txt" in capsys.readouterr().out
    assert names(tmp_path / "in" / "*.jpg") == ["a.jpg"]
    assert names(tmp_path / "in" / "**" / "*.jpg") == ["a.jpg", "m/d.jpg", "m/n/e.jpg"]
    assert names(tmp_path / "i?" / "[ab].*") == ["in/a.jpg", "in/b.png"]
    with pytest.raises(FileNotFoundError, match=r"\*\.webp: no file fits this pattern"):
        names(tmp_path / "in" / "*.webp")
    with pytest.raises(ValueError, match=r"\*\.txt: no image fits this pattern; images end in "):
        names(tmp_path / "in" / "*.txt")


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path / "a[1].jpg", tmp_path / "a1.jpg")
    assert names(tmp_path / "a[1].jpg") == ["a[1].jpg"]
    assert names(tmp_path / "a[12].jpg") == ["a1.jpg"]


# --- lists


def test_a_list_is_relative_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    touch(tmp_path / "in" / "list.TXT", elsewhere / "c.jpg")
    (tmp_path / "in" / "list.TXT").write_bytes(
        b"\xef\xbb\xbfa.jpg\r\n\n  \nsub/\xc3\xa9.png\nnot utf-8 \xff.png\n../up.jpg\n"
        + os.fsencode(elsewhere / "c.jpg")
    )
    assert names(tmp_path / "in" / "list.TXT") == [
        "a.jpg",
        "sub/é.png",
        "not utf-8 \udcff.png",
        "up.jpg",
        "c.jpg",
    ]
    assert found(tmp_path / "in" / "list.TXT")[1][0] == str(tmp_path / "in" / "sub" / "é.png")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a.jpg\nb/c.jpg\n")))
    assert found("-") == [("a.jpg", "a.jpg"), ("b/c.jpg", "b/c.jpg")]


@pytest.mark.parametrize("content", [b"", b"\n \n", "a.jpg\n".encode("utf-16")])
def test_what_is_no_list(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"list\.txt (lists no image|is no list of images)"):
        names(tmp_path / "list.txt")


def test_a_listed_image_that_is_missing_is_a_failure(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    write_picture(tmp_path / "b.png")
    (tmp_path / "list.txt").write_text("a.png\nb.png\n")
    assert predict("--input", tmp_path / "list.txt") == 1
    assert predict.results() == ["b.json", "b.png", "failures.csv"]
    reason = "cannot be read (there is no such file): check the path"
    assert capsys.readouterr().err == f"{tmp_path}/a.png {reason}\n"
    text = (predict.output / "failures.csv").read_text()
    assert text == f"image,reason\n{tmp_path}/a.png,{reason}\n"


# --- all together


def test_inputs_are_mixed_and_images_are_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(Path("in/a.jpg"), Path("in/m/b.jpg"), Path("other/a.jpg"))
    Path("list.txt").write_text("in/m/b.jpg\nother/a.jpg\n")
    absolute = tmp_path / "in" / "a.jpg"
    assert found("in/m/b.jpg", "./in", absolute, "other/../in/a.jpg", "in/**/*.jpg", "list.txt") == [
        ("in/m/b.jpg", "b.jpg"),
        ("in/a.jpg", "a.jpg"),
        ("other/a.jpg", "other/a.jpg"),
    ]
    # Images of one name get their whole path.
    assert names("in", "other") == ["in/a.jpg", "m/b.jpg", "other/a.jpg"]


def test_a_given_file_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    touch(tmp_path / "photo", tmp_path / ".b.heic")
    assert names(tmp_path / "photo", tmp_path / ".b.heic") == ["photo", ".b.heic"]


def test_the_system_is_asked_for_folders_not_for_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With thousands of images on a network disk, the first prediction would come late."""
    folder = tmp_path / "in"
    touch(*(folder / f"{number:04}.jpg" for number in range(50)))
    asked: list[str] = []
    for name in ("stat", "lstat", "open", "scandir", "readlink"):

        def watched(path: Any, *args: Any, _inner: Any = getattr(os, name), **kwargs: Any) -> Any:  # noqa: B008
            asked.append(os.path.basename(str(path)))
            return _inner(path, *args, **kwargs)

        monkeypatch.setattr(os, name, watched)
    images = find_images([str(folder)], OUTPUT, ()).images
    assert len(images) == 50 and images[0] == InputImage(folder / "0000.jpg", "0000.jpg")
    assert "in" in asked and not [name for name in asked if name.endswith(".jpg")]
