"""Which number of an evaluation is reported first."""

import pytest

from reldn_d2.evaluation import PROTOCOLS
from reldn_d2.evaluation.protocols.headline import MAIN_METRICS, Headline, headline, main_metrics
from tests.builders.config_files import RUNS, load, name_of


def test_the_first_protocol_has_the_headline() -> None:
    results = {
        "prdcls/motifs": {"R@20": 1.0, "R@50": 2.0, "mR@50": 3.0},
        "prdcls/reldn": {"rel_k1_R@50": 4.0},
    }
    assert headline(results) == Headline("prdcls/motifs", "R@50", 2.0)
    assert str(headline(results)) == "R@50 of prdcls/motifs: 2.00"
    assert headline(dict(reversed(results.items()))) == Headline("prdcls/reldn", "rel_k1_R@50", 4.0)


def test_a_protocol_without_numbers_is_passed_over() -> None:
    assert headline({"sgdet/confusion": {}, "sgdet/motifs": {"R@50": 1.0}}).key == "sgdet/motifs/R@50"
    assert headline({}) is None and headline({"bbox": {}}) is None


def test_several_data_sets_have_their_name_in_the_key() -> None:
    assert headline({"a/sgdet/motifs": {"R@50": 1.0}}).key == "a/sgdet/motifs/R@50"


def test_the_most_predicates_a_pair_count() -> None:
    metrics = {
        f"{kind}_k{k}_R@{at}": float(k) for kind in ("rel", "phr") for k in (1, 9, 70) for at in (20, 50)
    }
    assert main_metrics("sgdet/reldn", metrics) == {"rel_k70_R@50": 70.0, "phr_k70_R@50": 70.0}


def test_a_detector_has_box_ap() -> None:
    metrics = {"AP": 1.0, "AP50": 2.0, "AP75": 3.0, "AP-cup": 4.0}
    assert main_metrics("bbox", metrics) == {"AP": 1.0, "AP50": 2.0}


def test_an_unknown_protocol_shows_its_first_number() -> None:
    assert main_metrics("sgdet/mine", {"gain": 1.0, "loss": 2.0}) == {"gain": 1.0}


def test_a_subset_has_the_numbers_of_its_protocol() -> None:
    assert main_metrics("sgdet/motifs_confusable", {"R@20": 1.0, "R@50": 2.0}) == {"R@50": 2.0}


def test_every_protocol_says_what_comes_first() -> None:
    assert set(PROTOCOLS) <= set(MAIN_METRICS)


USUAL = {"vrd": "reldn", "vg": "motifs", "openimages": "reldn_openimages", "scenes": "motifs"}


@pytest.mark.parametrize(
    "file", [x for x in RUNS if x.parent.name in USUAL and "detector" not in x.name], ids=name_of
)
def test_configs_name_the_usual_protocol_of_their_data_first(file) -> None:
    assert load(file).MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS[0] == USUAL[file.parent.name]
