"""Two processes on CPUs with Detectron2's launcher. One of them gets no relationship."""

from pathlib import Path

import pytest
import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from reldn_d2.engine import Trainer, load_config
from tests.builders.processes import run_in_processes
from tests.builders.tiny_models import REPOSITORY, TINY, make_input

SCENES = str(REPOSITORY / "configs" / "scenes" / "reldn.yaml")


def train_one_step(output: str) -> None:
    torch.set_num_threads(1)
    options = [*TINY, "MODEL.WEIGHTS", "", "OUTPUT_DIR", output]
    torch.manual_seed(comm.get_rank())  # DDP must make the ranks equal
    trainer = Trainer(load_config(SCENES, options))
    relations = [(0, 1, 2), (2, 1, 0)] if comm.get_rank() == 0 else []
    batch = [make_input(4 if relations else comm.get_rank() - 1, relations)]
    trainer._trainer._data_loader_iter_obj = iter([batch, batch])
    with EventStorage(0):
        for trainer.iter in range(2):
            trainer.run_step()
    model = trainer.model.module
    mine = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    everybody = comm.all_gather(mine)
    assert torch.equal(everybody[0], everybody[1])
    Path(output, f"done{comm.get_rank()}").touch()


@pytest.mark.slow
def test_a_process_without_relations_keeps_up(tmp_path: Path) -> None:
    run_in_processes(train_one_step, 2, tmp_path, str(tmp_path))
    assert (tmp_path / "done0").exists() and (tmp_path / "done1").exists()


def train_and_evaluate(output: str) -> None:
    torch.set_num_threads(1)
    options = [
        *TINY,
        "MODEL.WEIGHTS",
        "",
        "OUTPUT_DIR",
        output,
        "MODEL.ROI_RELATION_HEAD.TEST.TASK",
        "prdcls",
    ]
    cfg = load_config(SCENES, options)
    model = Trainer.build_model(cfg)
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        torch.save(dict(results), Path(output, f"results{comm.get_world_size()}.pth"))


@pytest.mark.slow
def test_two_processes_evaluate_like_one(tmp_path: Path) -> None:
    for processes in (1, 2):
        run_in_processes(train_and_evaluate, processes, tmp_path, str(tmp_path))
    one, two = (torch.load(tmp_path / f"results{n}.pth") for n in (1, 2))
    assert one["prdcls/motifs"]["R@50"] > 0
    torch.testing.assert_close(one, two, rtol=0, atol=0)
