import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.cli.common import message_of
from reldn_d2.cli.convert_data import convert_all as run
from reldn_d2.data import conversion, load_coco_relations, register_coco_relations
from reldn_d2.data.conversion import Conversion
from reldn_d2.data.registration import register_relation_dataset
from reldn_d2.structures.annotations import Annotations


class Source:
    """A data set of one JSON file that holds a predicate, in a folder of photos."""

    def __init__(self, root: Path) -> None:
        self.path = root / "source.json"
        self.photos = root / "photos"
        self.path.write_text("1")
        self.loaded: list[int] = []

    def load(self, offset: int) -> list[dict[str, Any]]:
        predicate = json.loads(self.path.read_text())
        self.loaded.append(predicate)
        image = {"height": 20, "width": 30, "annotations": Annotations([[1, 2, 3, 4], [2, 2, 9, 9]], [0, 1])}
        relations = np.array([[0, 1, predicate + offset], [1, 0, 0]])
        related = {"file_name": str(self.photos / "a" / "1.jpg"), "image_id": 1, "relations": relations}
        none = {"file_name": str(self.photos / "2.jpg"), "image_id": 2, "relations": np.zeros((0, 3), int)}
        return [{**image, **related, "verified_classes": np.array([1])}, {**image, **none}]

    def register(self, name: str, offset: int = 0) -> None:
        register_relation_dataset(
            name,
            self.load,
            {"offset": offset},
            thing_classes=["cup", "person"],
            predicate_classes=["on", "holds", "wears"],
            class_labels=["/m/1", "/m/2"],
        )

    def conversion(self, **changes: Any) -> Conversion:
        given: dict[str, Any] = {
            "name": "own",
            "register": self.register,
            "sources": [self.path, self.path.with_name("absent.json")],
            "image_root": self.photos,
        }
        return Conversion(**{**given, **changes})


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_the_file_loads_as_the_data_set_it_was_made_from(source: Source, output: Path) -> None:
    run([source.conversion()], output, force=False)
    for found, expected in zip(
        load_coco_relations(output / "own.json", source.photos), source.load(0), strict=True
    ):
        assert found.keys() == expected.keys()
        assert found["annotations"] == expected["annotations"]
        for key in ("file_name", "height", "width", "image_id"):
            assert found[key] == expected[key]
        np.testing.assert_array_equal(found["relations"], expected["relations"])
        np.testing.assert_array_equal(found.get("verified_classes"), expected.get("verified_classes"))
    names = [image["file_name"] for image in json.loads((output / "own.json").read_text())["images"]]
    assert names == ["a/1.jpg", "2.jpg"]


def test_the_printed_line_registers_the_file(
    source: Source, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run([source.conversion(name="own_test", train="own_train")], output, force=False)
    written, line = capsys.readouterr().out.splitlines()
    counts = "2 images (1 without relationships), 4 entities, 2 relationships"
    assert written == f"{output / 'own_test.json'} was written: {counts}"
    try:
        eval(line.strip(), {"register_coco_relations": register_coco_relations})
        assert len(DatasetCatalog.get("own_test_coco")) == 2
        metadata = MetadataCatalog.get("own_test_coco")
        assert metadata.train_dataset == "own_train_coco"
        assert metadata.class_labels == ["/m/1", "/m/2"]
    finally:
        DatasetCatalog.remove("own_test_coco")
        MetadataCatalog.remove("own_test_coco")


def test_a_file_that_is_up_to_date_is_not_written_again(
    source: Source, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run([source.conversion()], output, force=False)
    first = capsys.readouterr().out
    before = (output / "own.json").stat()
    run([source.conversion()], output, force=False)
    assert capsys.readouterr().out == first.replace("was written", "is up to date")
    assert (output / "own.json").stat() == before
    assert len(source.loaded) == 1


def _remove_origin(source: Source, output: Path) -> None:
    (output / "own.origin.json").unlink()


def _cut(name: str, source: Source, output: Path) -> None:
    path = output / name
    path.write_bytes(path.read_bytes()[:-3])


def _other_origin(source: Source, output: Path) -> None:
    (output / "own.origin.json").write_text('["no origin"]')


def _remove_output(source: Source, output: Path) -> None:
    (output / "own.json").unlink()


def _change_source(source: Source, output: Path) -> None:
    source.path.write_text("2")


def _add_source(source: Source, output: Path) -> None:
    source.path.with_name("absent.json").write_text("")


def _unpack_pictures(source: Source, output: Path) -> None:
    (source.photos / "a").mkdir(parents=True)
    (source.photos / "a" / "1.JPG").touch()


@pytest.mark.parametrize(
    "change",
    [
        _unpack_pictures,
        _remove_output,
        _change_source,
        _add_source,
    ],
)
def test_an_outdated_file_is_written_again(
    source: Source, output: Path, change: Callable[[Source, Path], None]
) -> None:
    run([source.conversion()], output, force=False)
    change(source, output)
    for _ in range(2):
        run([source.conversion()], output, force=False)
    assert len(source.loaded) == 2, "converted again once, and then up to date"
    first, _ = load_coco_relations(output / "own.json", source.photos)
    assert first["relations"][0, 2] == source.loaded[-1]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_remove_origin, "no record says that this command wrote it"),
        (_other_origin, "no record says that this command wrote it"),
        (partial(_cut, "own.origin.json"), "no record says that this command wrote it"),
        (partial(_cut, "own.json"), "it has been changed since this command wrote it"),
    ],
    ids=["no record", "another record", "half a record", "a changed file"],
)
def test_a_file_that_somebody_may_have_corrected_is_replaced_only_by_force(
    source: Source, output: Path, change: Callable[[Source, Path], None], problem: str
) -> None:
    run([source.conversion()], output, force=False)
    change(source, output)
    _change_source(source, output)
    before = (output / "own.json").read_bytes()
    with pytest.raises(ValueError, match=rf"own\.json is there, and {problem}: .* add --force"):
        run([source.conversion()], output, force=False)
    assert (output / "own.json").read_bytes() == before
    run([source.conversion()], output, force=True)
    run([source.conversion()], output, force=False)
    assert source.loaded == [1, 2]


def test_after_a_kill_the_file_is_written_again(
    source: Source, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run([source.conversion()], output, force=False)
    _change_source(source, output)
    write, written = conversion._write_origin, list[Any]()

    def until_killed(path: Path, content: Any) -> None:
        if written:  # the file is there, and its record is not
            return
        written.append(content)
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "_write_origin", until_killed)
        run([source.conversion()], output, force=False)
    run([source.conversion()], output, force=False)
    run([source.conversion()], output, force=False)
    assert source.loaded == [1, 2, 2]


def test_the_record_is_no_file_to_write(source: Source, output: Path) -> None:
    run([source.conversion()], output, force=False)
    with pytest.raises(ValueError, match="the name of a record"):
        run([source.conversion(name="own.origin")], output, force=True)


def test_paths_with_a_quote_are_printed_as_python(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run([source.conversion()], tmp_path / "a \"b\" 'c'", force=False)
    given = list[Any]()
    eval(
        capsys.readouterr().out.splitlines()[1].strip(),
        {"register_coco_relations": lambda *x: given.extend(x)},
    )
    assert given[2] == str(tmp_path / "a \"b\" 'c'" / "own.json")


def test_pictures_that_were_moved_are_noticed_and_other_files_are_not(source: Source, output: Path) -> None:
    for folder in ("a", "b"):
        (source.photos / folder).mkdir(parents=True)
    picture = source.photos / "a" / "1.jpg"
    picture.touch()
    run([source.conversion()], output, force=False)
    (source.photos / "notes.json").touch()
    run([source.conversion()], source.photos / "out", force=False)
    run([source.conversion()], source.photos / "out", force=False)
    run([source.conversion()], output, force=False)
    assert len(source.loaded) == 2, "once for each folder that was written to"
    picture.rename(source.photos / "b" / "1.jpg")
    run([source.conversion()], output, force=False)
    assert len(source.loaded) == 3


def test_other_options_a_new_version_and_force_convert_again(
    source: Source, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count, conversion_of in enumerate(
        (
            source.conversion(),
            source.conversion(register=partial(source.register, offset=1)),
            source.conversion(register=partial(source.register, offset=1), image_root=source.photos.parent),
        ),
        start=1,
    ):
        run([conversion_of], output, force=False)
        assert len(source.loaded) == count
    monkeypatch.setattr(conversion, "_VERSION", 10**6)
    run([conversion_of], output, force=False)
    assert len(source.loaded) == 4
    run([conversion_of], output, force=True)
    assert len(source.loaded) == 5


def test_errors_are_one_line_and_leave_the_old_file(source: Source, output: Path) -> None:
    run([source.conversion()], output, force=False)
    before = (output / "own.json").read_bytes()
    source.path.write_text("7")
    with pytest.raises(ValueError) as error:
        run([source.conversion()], output, force=False)
    message = message_of(error.value)
    assert message.startswith(f"{output / 'own.json'}: not written: image 1 has predicate_id 7")
    assert "\n" not in message
    assert (output / "own.json").read_bytes() == before
    source.path.write_text("1")
    run([source.conversion()], output, force=False)
    assert len(source.loaded) == 2, "the old file is still what it was made from"


def test_missing_files_are_an_error_of_one_line(source: Source, output: Path) -> None:
    source.path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        run([source.conversion()], output, force=False)
    message = message_of(error.value)
    assert "source.json" in message and "\n" not in message
    assert not output.exists()


def test_no_data_set_stays_registered(source: Source, output: Path) -> None:
    before = set(DatasetCatalog.list()), set(MetadataCatalog.list())
    run([source.conversion()], output, force=False)
    source.path.write_text("7")
    with pytest.raises(ValueError, match="predicate_id 7"):
        run([source.conversion()], output, force=False)
    assert (set(DatasetCatalog.list()), set(MetadataCatalog.list())) == before


def test_a_source_is_never_written_over(source: Source) -> None:
    with pytest.raises(ValueError, match=r"source\.json is itself a file to convert"):
        run([source.conversion(name="source")], source.path.parent, force=True)
    assert source.path.read_text() == "1"
