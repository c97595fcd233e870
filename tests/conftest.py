"""What holds for all tests: compiling is cheap and kept nowhere, shapes are checked, children get default signals."""

import importlib.util
import os
import signal
from collections.abc import Iterator

import pytest

# Most of the time goes into compiling; with less optimisation a sixth of it is spared. Children do the same.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # what tests compile is none of the user's

if importlib.util.find_spec("jaxtyping"):  # the core is tested without the extras, too
    import jaxtyping

    jaxtyping.install_import_hook(
        ["popgym_arcade.baselines", "popgym_arcade.introspection"],
        "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",  # an int is a float, as type checkers have it
    )


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks no annotations: users are told what is wrong by the functions themselves."""
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)


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
