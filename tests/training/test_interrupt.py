"""The first signal asks, the second is real, and the old handlers come back."""

import os
import signal
import threading

import pytest

from snnguard.training.interrupt import graceful


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_asks_second_is_real(number: signal.Signals) -> None:
    old = signal.getsignal(number)
    with graceful() as asked:
        assert not asked()
        os.kill(os.getpid(), number)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is old


def test_handlers_come_back_after_an_error() -> None:
    old = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), graceful():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is old


def test_in_another_thread_nothing_is_touched() -> None:
    found = []

    def work() -> None:
        with graceful() as asked:
            found.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
