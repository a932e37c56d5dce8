"""Checks what examples/tiny_project wrote.

python check_tiny_project.py FOLDER
"""

import json
import sys
from pathlib import Path


def main() -> None:
    """Finds the relationships of the image, and the metrics of both evaluators."""
    folder = Path(sys.argv[1])
    assert json.loads((folder / "relationships.json").read_text()), "no relationships"
    *_, last = (folder / "reldn" / "metrics.json").read_text().splitlines()
    for name in ("bbox/AP", "sgdet/motifs/R@50"):
        assert name in json.loads(last), f"no {name}"


if __name__ == "__main__":
    main()
