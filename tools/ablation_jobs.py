"""Making the runs of a table, side by side, each command in a process of its own."""

import fcntl
import os
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from ablation_runs import Run, RunFailedError, missing_steps, write_settings

LOG_FILE = "ablate.log"
_POLL_SECONDS = 0.2


class _Work:
    """A run that is being made, one command after the other."""

    def __init__(self, run: Run, steps: Iterator[list[str]], environment: Mapping[str, str]) -> None:
        """
        Raises:
            RunFailedError: another process is making it.
        """
        self.run, self._steps, self._environment = run, steps, environment
        self._since = time.perf_counter()
        self._process: subprocess.Popen[bytes] | None = None
        run.folder.mkdir(parents=True, exist_ok=True)
        self._log = (run.folder / LOG_FILE).open("ab")
        try:
            # The commands inherit the lock with their output: it holds as long as one of them runs.
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._log.close()
            raise RunFailedError("another call of this tool is making it") from None
        write_settings(run)

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.perf_counter() - self._since

    def is_over(self) -> bool:
        """Start the next command if the last one has ended; whether there was none.

        Raises:
            RunFailedError: the last command failed, or did not make what it should.
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
        """End what is running, if anything is."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._log.close()


def execute(runs: Sequence[Run], needs: Mapping[str, set[str]], jobs: int, num_gpus: int) -> dict[Run, str]:
    """Make what runs lack, each command in a process of its own. A run that fails stops no other.

    If it is interrupted, what is under way is stopped; the next call goes on with it.

    Args:
        runs: that have passed `check_made_with`.
        needs: task -> protocols that must be reported.
        jobs: runs at a time; they share the cores.
        num_gpus: of each run.

    Returns:
        Run -> why it failed.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    waiting, working, failed = deque(runs), list[_Work](), dict[Run, str]()
    finished = 0

    def say(run: Run, text: str) -> None:
        print(f"[{time.strftime('%H:%M:%S')}] {run}: {text}", flush=True)

    def fail(run: Run, error: RunFailedError) -> None:
        failed[run] = f"{error}; see {run.folder / LOG_FILE}"
        say(run, f"FAILED, {failed[run]}")

    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                run = waiting.popleft()
                try:
                    working.append(_Work(run, missing_steps(run, needs, num_gpus), environment))
                    say(run, "started")
                except RunFailedError as error:
                    fail(run, error)
            for work in [*working]:
                try:
                    if not work.is_over():
                        continue
                    finished += 1
                    say(work.run, f"finished in {_duration(work.seconds)} ({finished} of {len(runs)})")
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
