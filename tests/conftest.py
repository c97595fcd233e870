"""What holds for all tests: their children get default signals."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _children_get_default_signals() -> Iterator[None]:
    """In the background shells ignore SIGINT and SIGQUIT, and nohup SIGHUP; children would inherit that.

    What is ignored stays ignored in a child, what is handled does not: so a handler that does nothing stands in.
    """
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGQUIT", "SIGHUP") if hasattr(signal, name)]
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
