"""Of six damages in a data set, one `reldn check` names each with its record, and nothing else."""

from pathlib import Path

import pytest

from tests.reliability.several_damages import AT_ONCE, DATA_SETS, TRIES, DataSet, trials

EACH = pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.form.name)


@EACH
def test_six_damages_at_once_are_found(data_set: DataSet, tmp_path: Path) -> None:
    counts = trials(data_set, tmp_path, tries=1, seed=1)
    assert counts.wrong == [] and counts.found == AT_ONCE


@pytest.mark.slow
@EACH
def test_six_damages_at_once_are_found_in_many_files(data_set: DataSet, tmp_path: Path) -> None:
    counts = trials(data_set, tmp_path, tries=TRIES, seed=2)
    assert counts.wrong == [] and counts.found == counts.damages == TRIES * AT_ONCE
