"""Damage to a file that this package writes is never scored silently, and its error names the file."""

from pathlib import Path

import pytest

from tests.reliability.damaged_formats import FORMATS, TRIES, trials


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_named_or_counted(name: str, tmp_path: Path) -> None:
    counts = trials(tmp_path, FORMATS[name], tries=15, seed=1)
    assert not counts.wrong
    assert counts.named + counts.counted > counts.tried // 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2, 3])
@pytest.mark.parametrize("name", FORMATS)
def test_much_damage_is_named_or_counted(name: str, seed: int, tmp_path: Path) -> None:
    counts = trials(tmp_path, FORMATS[name], tries=TRIES, seed=seed)
    assert not counts.wrong
    assert counts.tried >= TRIES
