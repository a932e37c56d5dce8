"""The command that measures the memory of trainings with large vocabularies."""

import sys

import numpy as np
import pytest

from tests.builders.commands import Captured
from tools import measure_vocabulary


def test_the_images_have_labels_of_the_whole_vocabulary() -> None:
    images = measure_vocabulary.relabelled(1000, 300, 20)
    assert [image["image_id"] for image in images] == list(range(20))
    relations = np.concatenate([image["relations"] for image in images])
    classes = [entity["category_id"] for image in images for entity in image["annotations"]]
    assert 900 < max(classes) < 1000 and 200 < relations[:, 2].max() < 300
    assert images[16]["file_name"] == images[0]["file_name"] and "relations" in images[16]


@pytest.mark.slow
def test_ten_steps_with_the_vocabulary_of_gqa_take_less_than_3_gb(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole process, of which 0.9 GB are libraries and the model. As one array the table takes 3.6 GB."""
    monkeypatch.setattr(sys, "argv", ["measure_vocabulary.py", "1703x311"])
    measure_vocabulary.main()
    row = capsys.readouterr().out.splitlines()[-1]
    name, dense, table, built, trained = (cell.strip() for cell in row.split("|")[1:-1])
    assert (name, dense) == ("1703 x 311", "3,619")
    assert int(table) < 20
    # Both are peaks of one process, so the second may be that of the first.
    assert int(built.replace(",", "")) <= int(trained.replace(",", "")) < 3000
