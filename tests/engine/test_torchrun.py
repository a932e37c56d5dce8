"""Processes that torchrun has started join one run, and failures of others are said in words."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch
from torch import distributed

from reldn_d2.engine.torchrun import Place, common_name, in_words, joined, unreached

VARIABLES = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables of the last of four processes on two machines."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_place_is_what_torchrun_says(environment: pytest.MonkeyPatch) -> None:
    assert Place.of_environment() == Place(rank=3, local_rank=1, count=4, local_count=2)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_part_of_the_variables_is_not_torchrun(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    assert Place.of_environment() is None


@pytest.mark.parametrize("name", ["RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"])
def test_a_place_that_is_no_number_is_refused(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "first")
    with pytest.raises(ValueError, match=rf"{name}=first.*unset"):
        Place.of_environment()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(ValueError, match="--nproc-per-node is 2, but PyTorch finds only 1"),
        joined(Place(0, 0, 2, 2), timedelta(seconds=1)),
    ):
        pass


GLOO = "[/x/gloo/transport/tcp/pair.cc:561] Connection closed by peer [10.0.0.1]:3.\nmore"


@pytest.mark.parametrize(
    "error", [RuntimeError(GLOO), distributed.DistBackendError("NCCL error: ncclRemoteError\nmore")]
)
def test_an_end_of_another_process_is_said_in_one_line(error: RuntimeError) -> None:
    with pytest.raises(ConnectionError, match=r"another process .*--resume") as raised, in_words():
        raise error
    text = str(raised.value)
    assert str(error).splitlines()[0] in text and "\n" not in text


@pytest.mark.parametrize("kind", [distributed.DistNetworkError, distributed.DistStoreError])
def test_an_address_without_an_answer_is_said_in_words(kind: type[Exception]) -> None:
    with pytest.raises(ConnectionError, match=r"did not find each other \(It timed out\): start"), in_words():
        raise kind("It timed out.")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes differ"),
        ValueError(GLOO),
        KeyError("x"),
        distributed.DistBackendError("ncclInvalidUsage"),
    ],
)
def test_other_errors_stay(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, in_words():
        raise error
    assert raised.value is error


def test_the_reason_is_found_at_the_end_of_a_traceback() -> None:
    trace = "Traceback\n  File x\ntorch.distributed.DistNetworkError: Nobody (h, 1) answered.\n"
    assert "(Nobody (h, 1) answered)" in unreached(trace)
    assert unreached("Traceback\nRuntimeError: no DistNetworkError here") == ""


LONG = timedelta(minutes=5)


def names_of_a_start(store: distributed.Store, count: int) -> set[str]:
    """The names that the processes of one start agree on. Threads stand for processes."""
    with ThreadPoolExecutor(count) as threads:
        return set(threads.map(lambda rank: common_name(store, rank, count, LONG), reversed(range(count))))


def test_each_start_has_a_name_of_its_own() -> None:
    """The first start ends before all have come; the last one has fewer processes."""
    store = distributed.HashStore()
    store.set_timeout(timedelta(milliseconds=1))
    with pytest.raises(distributed.DistStoreError):
        common_name(store, 1, 3, LONG)
    store.set_timeout(LONG)
    names = [names_of_a_start(store, count) for count in (3, 3, 2)]
    assert [len(found) for found in names] == [1, 1, 1]
    assert len(set.union(*names)) == 3


def test_a_process_that_does_not_come_is_named() -> None:
    store = distributed.HashStore()
    store.set("reldn_d2/1", "of a process that has ended")
    with pytest.raises(ConnectionError, match=r"did not find each other \(process 1 of 3 did not come\)"):
        common_name(store, 0, 3, timedelta(milliseconds=1))
