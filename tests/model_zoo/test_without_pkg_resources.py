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


def run_hidden(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = f"{HIDE}\nsys.path.insert(0, {str(REPOSITORY)!r})\n{script}"
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)


def test_it_is_hidden(tmp_path: Path) -> None:
    """Otherwise the tests below would prove nothing."""
    run = run_hidden(NEEDS_IT, tmp_path)
    assert run.stderr.strip().endswith("No module named 'pkg_resources'")


def test_every_config_in_python_loads(tmp_path: Path) -> None:
    run = run_hidden(
        """
from reldn_d2.engine import load_config
from reldn_d2.model_zoo import config_names
names = [name for name in config_names() if name.endswith(".py")]
for name in names:
    load_config(name)
print("loaded", *names)
""",
        tmp_path,
    )
    assert run.stdout.strip().startswith("loaded lazy/scenes_reldn.py"), run.stderr


def test_a_config_that_needs_it_says_what_to_install(tmp_path: Path) -> None:
    config = tmp_path / "mine.py"
    config.write_text(NEEDS_IT)
    run = run_hidden(
        """
from reldn_d2.engine import load_config
try:
    load_config("mine.py")
except ValueError as error:
    print(error)
""",
        tmp_path,
    )
    assert run.stdout.startswith("mine.py imports a module that needs pkg_resources"), run.stderr
    assert "pip install 'setuptools<81'" in run.stdout


def test_another_missing_module_is_named_as_such(tmp_path: Path) -> None:
    config = tmp_path / "mine.py"
    config.write_text("import no_such_module_anywhere\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        load_config(str(config))
