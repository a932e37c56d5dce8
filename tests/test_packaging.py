"""The wheel holds what a user needs, and its requirements leave an installed PyTorch as it is."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import reldn_d2
from tests.builders.tiny_models import REPOSITORY

PACKAGES = [name for name in ("reldn_d2", "reldn_cli") if (REPOSITORY / name).is_dir()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout. It is built from a copy, since a build leaves folders beside the source."""
    pytest.importorskip("setuptools", reason="the wheel is built with the installed setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in (*PACKAGES, "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(source))
    (file,) = folder.glob("*.whl")
    return file


def pip(*arguments: str) -> str:
    """Runs pip without the settings of the user and of the machine. Returns its output."""
    command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", *arguments]
    settings = {"PIP_CONFIG_FILE": os.devnull}
    run = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def metadata(wheel: Path) -> Message:
    return Parser().parsestr(read(wheel, "METADATA"))


def read(wheel: Path, name: str) -> str:
    """A file of the wheel's dist-info folder."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"reldn_d2-{reldn_d2.__version__}.dist-info/{name}").decode()


def test_it_holds_every_file_of_the_packages_and_every_config(wheel: Path) -> None:
    expected = {
        file.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for file in (REPOSITORY / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    expected |= {
        f"reldn_d2/model_zoo/{file.relative_to(REPOSITORY).as_posix()}"
        for file in (REPOSITORY / "configs").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert "reldn_d2/py.typed" in names
    assert "reldn_d2/visualization/report/templates/report.html.jinja" in names
    assert "reldn_d2/model_zoo/configs/lazy/common/relations.py" in names
    assert names == expected


def test_it_holds_a_model_that_works_without_a_network_and_stays_small(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {x.filename: x.file_size for x in archive.infolist()}
    model = {name: size for name, size in sizes.items() if name.startswith("reldn_d2/model_zoo/weights/")}
    assert "reldn_d2/model_zoo/weights/scenes-tiny/model.safetensors" in model
    assert sum(model.values()) <= 8_000_000
    assert wheel.stat().st_size <= 10_000_000


def test_it_installs_the_command(wheel: Path) -> None:
    assert "reldn = reldn_cli.main:main" in read(wheel, "entry_points.txt")


def test_its_version_is_that_of_the_package_and_of_the_change_log(wheel: Path) -> None:
    assert metadata(wheel)["Version"] == reldn_d2.__version__
    headings = [line for line in (REPOSITORY / "CHANGELOG.md").read_text().splitlines() if line[:4] == "## ["]
    assert headings[0].startswith(f"## [{reldn_d2.__version__}]")


def write_distribution(folder: Path, name: str, version: str, *requirements: str) -> None:
    """Writes the metadata of an installed package, or what a wheel contains."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = folder / f"{stem}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (info / "RECORD").write_text("")


def write_wheel(folder: Path, name: str, version: str, *requirements: str) -> None:
    """Writes a wheel without modules: what pip's resolver looks at."""
    stem = f"{name.replace('-', '_')}-{version}"
    write_distribution(folder / stem, name, version, *requirements)
    shutil.make_archive(str(folder / stem), "zip", folder / stem)
    (folder / f"{stem}.zip").rename(folder / f"{stem}-py3-none-any.whl")
    shutil.rmtree(folder / stem)


@pytest.mark.parametrize(
    ("torch", "torchvision", "changed"),
    [("2.5.0", "0.20.0", False), ("2.90.0", "0.90.0", False), ("2.4.1", "0.19.1", True)],
)
def test_installing_it_changes_no_pytorch_from_2_5_on(
    torch: str, torchvision: str, changed: bool, wheel: Path, tmp_path: Path
) -> None:
    """Beside an installed PyTorch: what pip would install if an index offers newer releases of everything."""
    environment, index = tmp_path / "environment", tmp_path / "index"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site_packages,) = environment.glob("lib/python*/site-packages")
    write_distribution(site_packages, "torch", torch)
    write_distribution(site_packages, "torchvision", torchvision, f"torch=={torch}")
    required = [Requirement(line) for line in metadata(wheel).get_all("Requires-Dist", [])]
    names = {item.name for item in required if not item.marker}
    others = names - {"torch", "torchvision"}
    write_wheel(index, "torch", "99.0")
    write_wheel(index, "torchvision", "99.0", "torch==99.0")
    for name in others:
        write_wheel(index, name, "99.0", *(("torch", "torchvision") if name == "timm" else ()))
    report = pip(
        *("--python", str(environment / "bin" / "python"), "install", "--dry-run", "--quiet", "--no-index"),
        *("--find-links", str(index), "--report", "-", str(wheel)),
    )
    installed = {item["metadata"]["name"] for item in json.loads(report)["install"]}
    assert others <= installed
    assert installed - others - {"reldn-d2"} == ({"torch", "torchvision"} if changed else set())


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_install_passes_another_package_index(tmp_path: Path) -> None:
    def commands(*variables: str) -> list[str]:
        run = subprocess.run(
            ["make", "--dry-run", "install", f"VENV={tmp_path / 'venv'}", *variables],
            cwd=REPOSITORY, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [line for line in run.stdout.splitlines() if "pip install" in line]

    plain = commands()
    with_index = commands("TORCH_INDEX=https://index.example/cpu")
    option = " --extra-index-url https://index.example/cpu"
    assert len(with_index) == len(plain) == 4
    for line in with_index:  # those with hashes are Detectron2 and label-studio-sdk
        assert (option in line) != ("--require-hashes" in line)
    assert not any("--extra-index-url" in line for line in plain)
