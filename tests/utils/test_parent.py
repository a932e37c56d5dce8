"""A process ends with its parent, also where that was killed."""

import shutil
import subprocess
import sys
from pathlib import Path

from reldn_d2.utils import parent

_PARENT = """
import multiprocessing
import os
import signal

from child import work

if __name__ == "__main__":
    ready, told = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=work, args=(told,)).start()
    ready.recv()
    os.kill(os.getpid(), signal.SIGKILL)
"""
_CHILD = """
import time

from alone import end_with_parent


def work(told):
    end_with_parent()
    told.send("ready")
    time.sleep(600)
"""


def test_a_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    # Without the imports of the package, which take seconds.
    shutil.copy(parent.__file__, tmp_path / "alone.py")
    (tmp_path / "parent.py").write_text(_PARENT)
    (tmp_path / "child.py").write_text(_CHILD)
    # The output has its end when the child, which inherits it, has ended.
    subprocess.run([sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE, timeout=300)
