import signal
from threading import Thread

import pytest

from reldn_d2.utils.interrupts import delayed_interrupt


def test_the_block_ends_before_ctrl_c_is_felt() -> None:
    done = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), delayed_interrupt():
        signal.raise_signal(signal.SIGINT)
        done.append(1)
        signal.raise_signal(signal.SIGINT)
        done.append(2)
    assert done == [1, 2] and signal.getsignal(signal.SIGINT) is before


def test_without_ctrl_c_nothing_happens_and_errors_pass() -> None:
    before = signal.getsignal(signal.SIGINT)
    with delayed_interrupt():
        pass
    with pytest.raises(OSError, match="full"), delayed_interrupt():
        raise OSError("full")
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_may_use_it() -> None:
    done = []

    def work() -> None:
        with delayed_interrupt():
            done.append(1)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]
