"""The list of models: every entry is complete, its files are there, and the pages show it."""

import re
import subprocess
import sys

import pytest

from reldn_d2.ablation.tables import read_table
from reldn_d2.engine import load_config, vocabulary_of
from reldn_d2.evaluation import PROTOCOLS
from reldn_d2.model_zoo import ZooEntry, get_config_file, zoo_entry, zoo_names
from reldn_d2.utils.io import file_digest
from tests.builders.tiny_models import REPOSITORY

NAMES = zoo_names()
ENTRIES = [zoo_entry(name) for name in NAMES]
entries = pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
# Line of a table of the paper -> the entry with its figures.
OF_THE_PAPER = {
    "authors-vg-x101-fpn": (7, "RelDN_X101FPN"),
    "authors-vg-vgg16": (7, "RelDN_VGG16"),
    "authors-vrd-vgg16-coco": (8, "RelDN_COCO"),
    "authors-vrd-vgg16-imagenet": (8, "RelDN_ImageNet"),
    "authors-openimages-mini-x101-fpn": (1, "L0+L1+L2+L3"),
}


def test_the_first_one_needs_no_network() -> None:
    assert NAMES[0] == "scenes-tiny" and ENTRIES[0].source == "wheel"


def test_importing_the_package_imports_the_list() -> None:
    """As the pages use it."""
    script = "import reldn_d2; print(reldn_d2.model_zoo.zoo_names()[0])"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "scenes-tiny\n", done.stderr


def test_an_unknown_name_shows_similar_ones() -> None:
    with pytest.raises(FileNotFoundError, match=r"no model 'scenes-tinny': did you mean scenes-tiny\?"):
        zoo_entry("scenes-tinny")
    with pytest.raises(
        FileNotFoundError, match="no model '???': there are scenes-tiny, authors-".replace("?", r"\?")
    ):
        zoo_entry("???")


@entries
def test_the_config_has_these_classes(entry: ZooEntry) -> None:
    cfg = load_config(get_config_file(entry.config))
    vocabulary = vocabulary_of(cfg.DATASETS.TEST[0])
    assert entry.classes == cfg.MODEL.ROI_HEADS.NUM_CLASSES == len(vocabulary.thing_classes)
    assert entry.predicates == cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES == len(vocabulary.predicate_classes)


@entries
def test_it_says_where_it_comes_from_and_what_one_may_do_with_it(entry: ZooEntry) -> None:
    assert entry.title and entry.needs and entry.licence and entry.notice
    assert entry.sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.sha256)
    if entry.source == "wheel":
        assert file_digest(entry.folder / "SHA256SUMS") == entry.sha256
        assert (entry.folder / "model.safetensors").stat().st_size == entry.bytes
    else:
        assert entry.location.startswith("https://") and entry.file
        with pytest.raises(ValueError, match="is not part of this package"):
            _ = entry.folder


@entries
def test_its_figures_name_data_task_protocol_and_who_measured_them(entry: ZooEntry) -> None:
    cfg = load_config(get_config_file(entry.config))
    for figures in entry.expected:
        assert figures.dataset in cfg.DATASETS.TEST and figures.by
        assert all(0 < value <= 100 for value in figures.metrics.values())
        assert (figures.task, figures.protocol) == ("boxes", "coco") or (
            figures.task in ("sgdet", "prdcls") and figures.protocol in PROTOCOLS
        )


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_the_figures_of_the_paper_are_those_of_its_tables(name: str) -> None:
    number, line = OF_THE_PAPER[name]
    table = read_table(number, None, [line])
    (figures,) = zoo_entry(name).expected
    assert figures.by == f"the paper, Table {number}"
    keys = {key: column for column, key in table.columns.items()}
    for metric, value in figures.metrics.items():
        assert value == table.lines[0].paper[keys[f"{figures.task}/{figures.protocol}/{metric}"]]


@entries
def test_the_page_shows_it(entry: ZooEntry) -> None:
    assert row_of(entry) in (REPOSITORY / "docs" / "checkpoints.md").read_text().splitlines()


def row_of(entry: ZooEntry) -> str:
    """Its row of the table in docs/checkpoints.md."""
    where = "in the wheel" if entry.source == "wheel" else f"`{entry.file}`"
    figures = "; ".join(
        f"{x.task} " + ", ".join(f"{metric} {value:g}" for metric, value in x.metrics.items())
        for x in entry.expected
    )
    by = "; ".join(dict.fromkeys(x.by for x in entry.expected))
    known = "of its `SHA256SUMS`" if entry.source == "wheel" else "of the `.pth`"
    digest = f"{entry.sha256[:8]}… {known}" if entry.sha256 else "not known"
    cells = [f"`{entry.name}`", entry.title, where, digest, f"{figures} ({by})" if figures else "none known"]
    return f"| {' | '.join(cells)} |"
