"""Everything works where setuptools 82 or newer is installed, which has no pkg_resources."""

import subprocess
import sys
from pathlib import Path

import pytest

from reldn_d2.engine import load_config
from tests.builders.tiny_models import REPOSITORY

# Put in front of a script, as `sitecustomize` would be: the import fails as it does without the module.
HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pkg_resources":
            raise ModuleNotFoundError("No module named 'pkg_resources'", name="pkg_resources")

sys.meta_path.insert(0, Hidden())
"""
NEEDS_IT = "from detectron2.model_zoo import get_config\n"
# One process for all tests of this file, because the imports take seconds.
SCRIPT = f"""
from reldn_d2.engine import import_data_sets, load_config
from reldn_d2.model_zoo import config_names

def load(*names):
    try:
        for name in names:
            load_config(name)
        print("loaded", *names)
    except ValueError as error:
        print(error)

try:
    {NEEDS_IT}
except ModuleNotFoundError as error:
    print(error)
load(*(name for name in config_names() if name.endswith(".py")))
load("mine.py")
try:
    import_data_sets("mine.py")
except ValueError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What `SCRIPT` prints without the module: a line for each of the tests below."""
    folder = tmp_path_factory.mktemp("hidden")
    (folder / "mine.py").write_text(NEEDS_IT)
    script = f"{HIDE}\nsys.path.insert(0, {str(REPOSITORY)!r})\n{SCRIPT}"
    run = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_it_is_hidden(printed: list[str]) -> None:
    """Otherwise the tests below would prove nothing."""
    assert printed[0] == "No module named 'pkg_resources'"


def test_every_config_in_python_loads(printed: list[str]) -> None:
    assert printed[1].startswith("loaded lazy/scenes_reldn.py")


def test_a_config_that_needs_it_says_what_to_install(printed: list[str]) -> None:
    assert printed[2].startswith("mine.py imports a module that needs pkg_resources")
    assert "pip install 'setuptools<81'" in printed[2]


def test_an_imported_module_that_needs_it_says_what_to_install(printed: list[str]) -> None:
    assert printed[3].startswith("--import mine.py: line 1: ModuleNotFoundError: No module named")
    assert "pip install 'setuptools<81'" in printed[3]


def test_another_missing_module_is_named_as_such(tmp_path: Path) -> None:
    config = tmp_path / "mine.py"
    config.write_text("import no_such_module_anywhere\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        load_config(str(config))
