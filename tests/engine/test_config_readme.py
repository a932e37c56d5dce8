"""configs/README.md names every file in configs, and no missing file."""

import re
from pathlib import Path

import yaml

from tests.builders.config_files import CONFIGS, EVERY, differences, name_of

README = (CONFIGS / "README.md").read_text()
OF_THE_EXAMPLE = {"vrd/detector_cascade.yaml", "vrd/reldn_cascade.yaml"}


def named_in_tables() -> set[str]:
    """Files of the tables.

    A name without a folder is in the folder of the name before it. In the second table it is in base.
    """
    found, folder = set(), "base"
    for line in README.splitlines():
        if line.startswith("| part"):
            folder = "base"
        if line.startswith("|"):
            for name in re.findall(r"`([^`\s]+\.yaml)`", line):
                folder, _, file = name.rpartition("/") if "/" in name else (folder, "", name)
                found.add(f"{folder}/{file}")
    return found


def test_the_tables_name_every_file() -> None:
    assert named_in_tables() == {name_of(file) for file in EVERY}


def test_files_that_the_text_names_exist() -> None:
    for name in re.findall(r"`((?:vrd|vg|openimages|base|published)/[^`\s]+\.yaml)`", README):
        assert name in OF_THE_EXAMPLE or (CONFIGS / name).is_file(), name
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (CONFIGS / link).exists(), link
    for tool in re.findall(r"(?:tools|configs)/\S+\.(?:py|yaml)", README):
        assert (CONFIGS.parent / tool).is_file(), tool


def test_the_example_is_the_detector_that_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == len(OF_THE_EXAMPLE)
    for name, block in zip(sorted(OF_THE_EXAMPLE), blocks, strict=True):
        # The names that the text gives them, in another folder.
        content = yaml.safe_load(block)
        content["_BASE_"] = [str(CONFIGS / "vrd" / x) if x.startswith("..") else x for x in content["_BASE_"]]
        (tmp_path / name.rpartition("/")[2]).write_text(yaml.safe_dump(content))
    heads = {
        "MODEL.ROI_HEADS.NAME",
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG",
        "MODEL.RPN.POST_NMS_TOPK_TRAIN",
    }
    places = {"MODEL.WEIGHTS", "OUTPUT_DIR"}
    for stage in ("detector", "reldn"):
        assert differences(tmp_path / f"{stage}_cascade.yaml", f"vrd/{stage}_r50_fpn.yaml") == heads | places
