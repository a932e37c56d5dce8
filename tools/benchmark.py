#!/usr/bin/env python
"""The old name of `python -m tools.benchmarks`."""

import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    print("tools/benchmark.py is now `python -m tools.benchmarks`, which runs instead", file=sys.stderr)
    root = Path(__file__).parents[1]
    sys.exit(subprocess.call([sys.executable, "-m", "tools.benchmarks", *sys.argv[1:]], cwd=root))
