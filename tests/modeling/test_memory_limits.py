"""A batch that does not fit into memory is an error that says what to change; a chunk fits by itself."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.modeling.relation_head import chunk_size
from reldn_d2.modeling.relation_head.chunk_size import chosen_chunk_size, fitting_chunk_size
from tests.builders.tiny_models import TinyConfig, make_input, make_model

CHUNK = "MODEL.ROI_RELATION_HEAD.TEST.CHUNK_SIZE"
# More than any machine has.
TOO_MUCH = 2**50


def _of_cuda() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


FAILURES: dict[str, tuple[type[BaseException], str, Callable[[], object]]] = {
    "GPU": (torch.OutOfMemoryError, "CUDA out of memory. Tried", _of_cuda),
    "CPU": (RuntimeError, "can't allocate memory", lambda: torch.empty(TOO_MUCH, dtype=torch.uint8)),
    "NumPy": (MemoryError, "Unable to allocate", lambda: np.empty(TOO_MUCH, dtype=np.uint8)),
}


@pytest.mark.parametrize("failure", sorted(FAILURES))
def test_the_error_names_batch_and_chunk(failure: str, tiny_config: TinyConfig) -> None:
    kind, message, fail = FAILURES[failure]
    model: Any = make_model(tiny_config(CHUNK, "7")).eval()
    model.task = "prdcls"
    right = model.relation_head.predicate_logits
    model.relation_head.predicate_logits = lambda *args: (fail(), right(*args))[1]
    with pytest.raises(kind) as error:
        model([make_input(4, [], seed=seed) for seed in range(3)])
    assert type(error.value) is kind
    said = str(error.value)
    assert said.startswith("a batch of 3 images, with chunks of 7 pairs, does not fit into memory: make ")
    assert f"TEST.IMS_PER_BATCH, or --batch-size, and the chunk {CHUNK}" in said and message in said
    assert said.count("does not fit") == 1


def test_the_error_of_a_backbone_names_the_batch(tiny_config: TinyConfig) -> None:
    model: Any = make_model(tiny_config()).eval()
    model.backbone.forward = lambda images: _of_cuda()
    with pytest.raises(torch.OutOfMemoryError, match="a batch of 2 images does not fit into memory"):
        model([make_input(4, [], seed=seed) for seed in range(2)])


def test_other_errors_stay_as_they_are(tiny_config: TinyConfig) -> None:
    model: Any = make_model(tiny_config()).eval()

    def fail(images: Any) -> None:
        raise RuntimeError("something else")

    model.backbone.forward = fail
    with pytest.raises(RuntimeError, match=r"^something else$"):
        model([make_input(4, [])])


@given(free=st.integers(0, 2**40), bytes_per_pair=st.integers(1, 2**30))
def test_a_chunk_fits_into_half_of_the_free_memory(free: int, bytes_per_pair: int) -> None:
    size = fitting_chunk_size(free, bytes_per_pair)
    assert 1 <= size <= 1024 and size & (size - 1) == 0
    assert size == 1 or size * bytes_per_pair <= free / 2
    assert size == 1024 or 2 * size * bytes_per_pair > free // 2


def test_the_machine_decides_where_no_size_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_size, "free_memory", lambda device: 2**30)
    assert chosen_chunk_size(torch.device("cpu"), 2**20) == 256
    assert chosen_chunk_size(torch.device("cuda"), None) == 256
    assert chosen_chunk_size(torch.device("cuda"), 2**20) == 512
    assert chosen_chunk_size(torch.device("cuda"), 2**21) == 256


def test_what_pytorch_holds_without_using_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 30)
    assert chunk_size.free_memory(torch.device("cuda")) == 120


def test_a_head_states_at_least_its_largest_tables(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config())
    maps = {name: torch.zeros(1, 16, 2, 2) for name in ("p2", "p3", "p4", "p5")}
    head: Any = model.relation_head
    region, hidden = 16 * 7 * 7, 3 * 32 // 2
    stated = head.bytes_per_pair(maps, maps)
    assert 4 * (region + 2 * hidden) < stated < 4 * 10 * (region + 2 * hidden)
    wide = {name: torch.zeros(1, 32, 2, 2) for name in maps}
    assert head.bytes_per_pair(wide, wide) - stated == 4 * 4 * region
    only_tables = make_model(
        tiny_config(
            *(
                x
                for key in ("FUSED", "SUBJECT_SKIP", "OBJECT_SKIP")
                for x in (f"MODEL.ROI_RELATION_HEAD.VISUAL.{key}", "False")
            )
        )
    )
    assert 0 < only_tables.relation_head.bytes_per_pair({}, None) < stated  # type: ignore[operator]


def test_a_size_that_is_none_is_refused(tiny_config: TinyConfig) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{CHUNK} is -1: give a whole number of 0 or more")):
        make_model(tiny_config(CHUNK, "-1"))
