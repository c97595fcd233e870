"""What holds for all tests: compiling is cheap and kept nowhere, shapes are checked, signals are default, one browser."""

import gc
import importlib.metadata
import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

# Most of the time goes into compiling. It is halved with little optimisation (without any, programs run several times as
# long), with each program in one piece, and with fusions in LLVM's own language instead of MLIR: jaxlib 0.5 does that
# anyway, 0.11 cannot, and either stops at a flag that it does not know. Children do the same.
_FLAGS = "--xla_backend_optimization_level=1"
_JAXLIB = tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2]))
if _JAXLIB >= (0, 7):
    _FLAGS += " --xla_cpu_parallel_codegen_split_count=1"
if (0, 7) <= _JAXLIB < (0, 11):
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _FLAGS)
# Half of the time is Python's, which traces: with many objects that stay, and with places in the code that nobody reads.
gc.set_threshold(100_000, 50, 100)
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # what tests compile is none of the user's

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

if importlib.util.find_spec("jaxtyping"):  # the core is tested without the extras, too
    import jaxtyping

    jaxtyping.install_import_hook(
        ["popgym_arcade.baselines", "popgym_arcade.introspection", "popgym_arcade.results"],
        "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",  # an int is a float, as type checkers have it
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real browser; where there is none, `POPGYM_ARCADE_BROWSER=required` makes that an error."""
    path = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    missing = None
    if path is None:
        missing = "no Chromium is installed (Debian: apt-get install chromium)"
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        missing, sync_playwright = "playwright is not installed", None
    if missing or sync_playwright is None:
        if os.environ.get("POPGYM_ARCADE_BROWSER") == "required":
            pytest.fail(f"this is to be tested in a browser, but {missing}")
        pytest.skip(f"not tested in a browser: {missing}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(_OPTIONS))
        yield started
        started.close()


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
