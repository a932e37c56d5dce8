"""examples/cluster: the scripts are well-formed, and their command lines run."""

import os
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from reldn_cli.main import find_command, parse
from tests.builders.machines import Ended, free_port, run_together
from tests.builders.tiny_models import REPOSITORY, TINY, TinyConfig
from tests.builders.tiny_runs import save_random_weights

CLUSTER = REPOSITORY / "examples" / "cluster"
_TORCHRUN = ["python", "-m", "torch.distributed.run"]
# Stand-ins for Slurm. The first starts its command once for each node, and waits for all.
_SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
for ((i = 0; i < SLURM_JOB_NUM_NODES; i++)); do "$@" & started+=($!); done
for process in "${started[@]}"; do wait "$process" || exit; done
"""
_WRITES_ITS_WORDS = '#!/bin/bash\nprintf "%s\\n" "$@" > "$WORDS"\n'
# It says more names than a pipe holds: who reads only the first of them would end it by a signal.
_SCONTROL = (
    '#!/bin/bash\n[[ "$*" == "show hostnames the-nodes" ]] && echo localhost && seq -f other%g 20000\n'
)


def documents(name: str) -> list[dict[str, Any]]:
    """The objects of a manifest."""
    return list(yaml.safe_load_all((CLUSTER / name).read_text()))


def job() -> dict[str, Any]:
    """The Job of kubernetes.yaml."""
    return next(x for x in documents("kubernetes.yaml") if x["kind"] == "Job")


def container() -> dict[str, Any]:
    """The container of its pods."""
    found: dict[str, Any] = job()["spec"]["template"]["spec"]["containers"][0]
    return found


def check_training(words: Sequence[str]) -> None:
    """Checks a command line of torchrun that trains, and goes on after a restart."""
    assert [*words[:3]] == _TORCHRUN
    place = words.index("reldn_cli")
    launch = words[3:place]
    assert {"--nnodes=2", "--nproc-per-node=4", "--max-restarts=3", "--rdzv-backend=c10d"} < {*launch}
    assert launch[-1] == "-m"
    command, rest = find_command([*words[place + 1 :]])
    args = parse(command, rest)
    assert command.name == "train" and args.resume and args.num_gpus == args.num_machines == 1


def slurm(folder: Path, srun: str, *words: str, nodes: int = 2, **variables: object) -> list[str]:
    """The command line that runs slurm.sh with stand-ins for Slurm, which lie in a folder."""
    for name, text in (("srun", srun), ("scontrol", _SCONTROL)):
        file = folder / name
        file.write_text(text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    job_of_slurm = {"SLURM_JOB_NODELIST": "the-nodes", "SLURM_JOB_NUM_NODES": nodes, "SLURM_JOB_ID": 123456}
    job_of_slurm["SLURM_CPUS_PER_TASK"] = 32
    given = {"PATH": path, **job_of_slurm, **variables}
    settings = [f"{name}={value}" for name, value in given.items()]
    return ["env", *settings, "bash", str(CLUSTER / "slurm.sh"), *words]


def test_the_script_of_slurm_is_well_formed() -> None:
    subprocess.run(["bash", "-n", str(CLUSTER / "slurm.sh")], check=True)
    directives = [x for x in (CLUSTER / "slurm.sh").read_text().splitlines() if x.startswith("#SBATCH")]
    assert {"#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=1"} < {*directives}


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    subprocess.run(["shellcheck", str(CLUSTER / "slurm.sh")], check=True)


def test_slurm_starts_a_training_on_all_nodes(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    subprocess.run(slurm(tmp_path, _WRITES_ITS_WORDS, "SEED", "3", WORDS=words), check=True)
    found = words.read_text().splitlines()
    assert found[:2] == ["--kill-on-bad-exit=1", "--cpus-per-task=32"]
    check_training(found[2:])
    assert "--rdzv-endpoint=localhost:23456" in found and found[-2:] == ["SEED", "3"]


def test_kubernetes_starts_a_training_on_all_pods() -> None:
    service = next(x for x in documents("kubernetes.yaml") if x["kind"] == "Service")
    spec, words = job()["spec"], container()["command"]
    check_training(words)
    # The pods have the host names NAME-0, NAME-1 and so on, in the domain of the service.
    pods, name, port = spec["template"]["spec"], service["metadata"]["name"], service["spec"]["ports"][0]
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"] == 2
    assert service["spec"]["clusterIP"] == "None" and pods["subdomain"] == name
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert f"--rdzv-endpoint={job()['metadata']['name']}-0.{name}:{port['port']}" in words
    assert container()["resources"]["limits"]["nvidia.com/gpu"] == "4"


def test_kubernetes_knows_every_field() -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for document in documents("kubernetes.yaml"):
        schemas.validate(document, schemas.latest_version(), strict=True)


def test_the_command_line_of_ray_is_one_of_ours() -> None:
    (manifest,) = documents("ray_job.yaml")
    name, *words = shlex.split(manifest["spec"]["entrypoint"])
    command, rest = find_command(words)
    args = parse(command, rest)
    assert (name, command.name, args.engine, args.resume) == ("reldn", "predict", "ray", True)
    # The image of the plain lock file has no Ray.
    assert (CLUSTER / "ray_job.yaml").read_text().count("image: reldn-ray:latest") == 2


@pytest.fixture
def weights(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """A complete RelDN checkpoint."""
    return save_random_weights(tiny_config(), tmp_path)


def check_run(ended: Ended, output: Path) -> None:
    assert ended.status == 0, ended.output
    assert "cpu, 2 processes" in ended.output
    state = torch.load(output / "model_final.pth", weights_only=True)
    assert state["iteration"] == 1 and (output / "log.txt.rank1").is_file()


@pytest.mark.slow
def test_two_nodes_of_slurm_train(weights: str, tmp_path: Path) -> None:
    output = tmp_path / "run"
    given = {"CONFIG": "scenes/reldn.yaml", "WEIGHTS": weights, "OUTPUT": output, "PROCESSES": 1}
    command = slurm(tmp_path, _SRUN, *TINY, **given, SLURM_JOB_ID=free_port() - 20_000)
    check_run(run_together([command], tmp_path)[0], output)


@pytest.mark.slow
def test_two_pods_of_kubernetes_train(weights: str, tmp_path: Path) -> None:
    output, port = tmp_path / "run", free_port()
    here = {
        "python": sys.executable,
        "--nproc-per-node=4": "--nproc-per-node=1",
        "--rdzv-endpoint=reldn-0.reldn:29400": f"--rdzv-endpoint=localhost:{port}",
        "vg/reldn_x101_fpn.yaml": "scenes/reldn.yaml",
        "/run/reldn/detector": weights,
        "/run/reldn/output": str(output),
    }
    words = container()["command"]
    assert here.keys() < {*words}
    pods = run_together([[*(here.get(word, word) for word in words), *TINY]] * 2, tmp_path)
    assert [pod.status for pod in pods] == [0, 0], pods
    first = next(pod for pod in pods if "2 processes" in pod.output)
    check_run(first, output)
