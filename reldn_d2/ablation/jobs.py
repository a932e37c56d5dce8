"""Makes the runs of a table, several at a time, each command in its own process."""

import fcntl
import os
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from reldn_d2.utils.plain_text import say

from .runs import Run, RunFailedError, missing_steps, write_settings

LOG_FILE = "ablate.log"
_POLL_SECONDS = 0.2


class _Work:
    """A run in progress: its commands run one after the other."""

    def __init__(self, run: Run, steps: Iterator[list[str]], environment: Mapping[str, str]) -> None:
        """Lock the run and open its log.

        Raises:
            RunFailedError: another process is making this run.
        """
        self.run, self._steps, self._environment = run, steps, environment
        self._since = time.perf_counter()
        self._process: subprocess.Popen[bytes] | None = None
        run.folder.mkdir(parents=True, exist_ok=True)
        self._log = (run.folder / LOG_FILE).open("ab")
        try:
            # The commands inherit the lock with the log file, so the lock holds as long as one of them runs.
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._log.close()
            raise RunFailedError("another process is making this run") from None
        write_settings(run)

    @property
    def seconds(self) -> float:
        """Seconds since the start of the run."""
        return time.perf_counter() - self._since

    def is_over(self) -> bool:
        """Start the next command if the last one has ended. Returns True if no command is left.

        Raises:
            RunFailedError: the last command failed, or its results are missing.
        """
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return False
            if status != 0:
                raise RunFailedError(f"status {status}: {_last_line(self.run)}")
        command = next(self._steps, None)
        if command is None:
            return True
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, env=self._environment
        )
        return False

    def stop(self) -> None:
        """Stop the current command, if one is running."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._log.close()


def execute(
    runs: Sequence[Run], needs: Mapping[str, set[str]], jobs: int, flags: Sequence[str]
) -> dict[Run, str]:
    """Run the missing commands of all runs, each in its own process. A failed run does not stop the others.

    An interrupt stops the current commands; the next call continues with them.

    Args:
        runs: runs that have passed `check_made_with`.
        needs: task -> protocols that must be reported.
        jobs: number of runs at a time; they share the cores.
        flags: options of every command, see `missing_steps`.

    Returns:
        Failed run -> the reason.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    waiting, working, failed = deque(runs), list[_Work](), dict[Run, str]()
    finished = 0

    def tell(run: Run, text: str) -> None:
        say(f"[{time.strftime('%H:%M:%S')}] {run}: {text}")

    def fail(run: Run, error: RunFailedError) -> None:
        failed[run] = f"{error}; see {run.folder / LOG_FILE}"
        tell(run, f"FAILED, {failed[run]}")

    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                run = waiting.popleft()
                try:
                    working.append(_Work(run, missing_steps(run, needs, flags), environment))
                    tell(run, "started")
                except RunFailedError as error:
                    fail(run, error)
            for work in [*working]:
                try:
                    if not work.is_over():
                        continue
                    finished += 1
                    tell(work.run, f"finished in {_duration(work.seconds)} ({finished} of {len(runs)})")
                except RunFailedError as error:
                    fail(work.run, error)
                work.stop()
                working.remove(work)
            time.sleep(_POLL_SECONDS)
    finally:
        for work in working:
            work.stop()
    return failed


def _last_line(run: Run) -> str:
    lines = (run.folder / LOG_FILE).read_text(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
