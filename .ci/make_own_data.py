"""Writes a tiny data set as a user has it: images, COCO-relations files, and a data file that names both.

python make_own_data.py party    # party/party.yaml
"""

import shutil
import sys
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.data import save_coco_relations


def main() -> None:
    """Exports a few of the built-in scenes to the folder named on the command line."""
    folder = Path(sys.argv[1])
    lines = []
    for split in ("train", "test"):
        name, pictures = f"reldn_scenes_tiny_{split}", folder / "images" / split
        images = DatasetCatalog.get(name)
        pictures.mkdir(parents=True)
        for image in images:
            image["file_name"] = shutil.copy(image["file_name"], pictures)
        save_coco_relations(images, MetadataCatalog.get(name), folder / f"{split}.json", pictures)
        lines.append(f"{split}: {{annotations: {split}.json, images: images/{split}}}\n")
    (folder / f"{folder.name}.yaml").write_text("".join(lines))


if __name__ == "__main__":
    main()
