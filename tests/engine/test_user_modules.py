"""`--import`: a user's module registers; it never trains, and its errors are one line."""

import contextlib
import sys
from pathlib import Path

import pytest
import torch.multiprocessing
from detectron2.data import DatasetCatalog
from detectron2.engine import SimpleTrainer, TrainerBase

from reldn_d2.engine import import_data_sets

START = {
    "a trainer of Detectron2": """
from detectron2.engine import DefaultTrainer
from detectron2.config import get_cfg
trainer = DefaultTrainer(get_cfg())
""",
    "a simple trainer": """
from detectron2.engine import SimpleTrainer
trainer = SimpleTrainer(None, None, None)
""",
    "ours": """
from reldn_d2.engine import Trainer
trainer = Trainer(None)
""",
    "several processes": """
from detectron2.engine import launch
def main(): pass
launch(main, 2, dist_url="auto")
""",
}
REGISTER = """
from detectron2.data import DatasetCatalog
DatasetCatalog.register(__import__("pathlib").Path(__file__).stem, list)
"""


def module(folder: Path, text: str, name: str = "my_data") -> str:
    path = folder / f"{name}.py"
    path.write_text(text)
    return str(path)


def test_a_file_is_imported_once_under_another_name_than_main(tmp_path: Path) -> None:
    path = module(tmp_path, f"{REGISTER}\nif __name__ == '__main__':\n    raise RuntimeError\n", "once")
    import_data_sets(path)
    import_data_sets(path)
    assert "once" in DatasetCatalog


def test_files_of_one_name_in_two_folders_are_both_imported(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        text = f"from detectron2.data import DatasetCatalog\nDatasetCatalog.register('from_{name}', list)\n"
        import_data_sets(module(tmp_path / name, text))
    assert {"from_one", "from_other"} <= set(DatasetCatalog.list())


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    module(tmp_path, REGISTER, "neighbour_of_my_data")
    import_data_sets(module(tmp_path, "import neighbour_of_my_data\n"))
    assert "neighbour_of_my_data" in DatasetCatalog


def test_a_file_does_not_hide_a_module_of_its_name(tmp_path: Path) -> None:
    import_data_sets(module(tmp_path, REGISTER, "json"))
    import json

    assert "json" in DatasetCatalog and json.loads("1") == 1


@pytest.mark.parametrize("start", START)
def test_a_training_is_refused(start: str, tmp_path: Path) -> None:
    path = module(tmp_path, START[start])
    with pytest.raises(ValueError, match=f"--import {path}: line [34]: it starts a training") as error:
        import_data_sets(path)
    assert 'if __name__ == "__main__"' in str(error.value)


def test_trainings_start_again_after_an_import(tmp_path: Path) -> None:
    before = (TrainerBase.__init__, torch.multiprocessing.start_processes)
    for text in ("kept = 1\n", START["a simple trainer"]):
        with contextlib.suppress(ValueError):
            import_data_sets(module(tmp_path, text, f"module_{len(text)}"))
        assert (TrainerBase.__init__, torch.multiprocessing.start_processes) == before
    linear = torch.nn.Linear(1, 1)
    SimpleTrainer(linear, [], torch.optim.SGD(linear.parameters(), 0.1))


def test_what_a_module_took_during_the_import_still_starts_processes(tmp_path: Path) -> None:
    path = module(tmp_path, "from detectron2.engine import launch\n", "takes_launch")
    import_data_sets(path)
    assert sys.modules["takes_launch"].launch(lambda: None, 1) is None


@pytest.mark.parametrize("order", [("head", "data"), ("data", "head")])
def test_a_file_that_another_module_imports_runs_once(order: tuple[str, str], tmp_path: Path) -> None:
    stem = f"shared_{order[0]}_first"
    shared = module(tmp_path, REGISTER, stem)
    data = module(tmp_path, f"import {stem}\n", f"{stem}_data")
    for name in order:
        import_data_sets(shared if name == "head" else data)
    assert stem in DatasetCatalog


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nimport no_such_thing\n", "line 2: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("def f():\n    return {}['holds']\n\nf()\n", "line 2: KeyError: 'holds'"),
        ("import json\njson.loads('{')\n", "line 2: json.decoder.JSONDecodeError: Expecting"),
        ("x = (\n", r"line 1: SyntaxError: '\(' was never closed"),
        ("import sys\nsys.exit('no data')\n", "line 2: SystemExit: no data"),
    ],
)
def test_a_module_that_fails_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = module(tmp_path, text)
    for _ in range(2):  # it fails again, since nothing of the first time is kept
        with pytest.raises(ValueError, match=f"--import {path}: {message}") as error:
            import_data_sets(path)
        assert "\n" not in str(error.value)


def test_modules_are_imported_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module(tmp_path, REGISTER, "imported_by_name")
    import_data_sets("imported_by_name")
    assert "imported_by_name" in DatasetCatalog
    path = module(tmp_path, "x = 1\ny = 1 / 0\n", "failing_by_name")
    with pytest.raises(ValueError, match=f"--import failing_by_name: {path}, line 2: ZeroDivisionError"):
        import_data_sets("failing_by_name")


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match=r"--import no_such_module: No module named 'no_such_module'"):
        import_data_sets("no_such_module")
    with pytest.raises(FileNotFoundError, match=r"--import none\.py: there is no such file"):
        import_data_sets("none.py")
