"""Imports every module of the packages named on the command line, and says which fail and where they lie.

Exit status 1 if a module can't be imported or lies outside the environment of this Python.
"""

import importlib
import pkgutil
import sys
import traceback
from pathlib import Path


def main() -> int:
    """Imports all modules; returns the exit status."""
    failures = 0
    for package_name in sys.argv[1:]:
        package = importlib.import_module(package_name)
        print(f"{package_name} lies in {package.__path__[0]}")
        if not Path(package.__path__[0]).is_relative_to(sys.prefix):
            print(f"{package_name} lies outside {sys.prefix}", file=sys.stderr)
            failures += 1
        # What fails here fails again below.
        modules = pkgutil.walk_packages(package.__path__, f"{package_name}.", onerror=lambda _: None)
        names = [module.name for module in modules if not module.name.endswith(".__main__")]
        for name in names:
            try:
                importlib.import_module(name)
            except Exception:
                print(f"{name} can't be imported:\n{traceback.format_exc()}", file=sys.stderr)
                failures += 1
        print(f"{len(names)} modules of {package_name} were imported, {failures} failures so far")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
