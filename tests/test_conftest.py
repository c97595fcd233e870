"""Tests end, wherever they are started: in the background, too, and if one of them hangs."""

import ast
import pathlib
import signal
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).parent

CHILD = """
import signal, subprocess, sys

def test_child():
    code = "import signal; print([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.count("SIG_IGN") == 0 and done.stdout.count("SIG_DFL") == 2, done.stdout
    assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL  # a lost connection does not end tests under nohup
"""


def pytest_in_a_process(tests: pathlib.Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a file as it is set up here, with the signals that matter ignored."""
    code = "import signal, sys, pytest; [signal.signal(number, signal.SIG_IGN) for number in (1, 2, 3)]; "
    code += "sys.exit(pytest.main(sys.argv[1:]))"
    settings = ["-c", str(TESTS.parent / "pyproject.toml"), "-p", "tests.conftest", "-p", "no:cacheprovider", *options]
    command = [sys.executable, "-c", code, str(tests), *settings]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=TESTS.parent)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")
@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "in a worker"])
def test_children_get_default_signals(options: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    path = tmp_path / "test_child.py"
    path.write_text(CHILD)
    done = pytest_in_a_process(path, *options)
    assert done.returncode == 0, done.stdout


def test_a_test_that_hangs_is_ended_and_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "test_sleep.py"
    path.write_text("import time\n\ndef test_long():\n    time.sleep(100)\n\ndef test_short():\n    pass\n")
    done = pytest_in_a_process(path, "-n", "1", "-o", "faulthandler_timeout=1")
    assert "crashed while running" in done.stdout and "::test_long" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def is_unbounded(call: ast.Call) -> bool:
    """Whether a call waits for another process or thread, and does not say for how long."""
    name = ast.unparse(call.func)
    if name.startswith("subprocess.") and name != "subprocess.Popen":
        return "timeout" not in [keyword.arg for keyword in call.keywords]
    return name.endswith((".wait", ".communicate", ".join")) and not (call.args or call.keywords)


def test_no_wait_is_unbounded(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.getini("faulthandler_exit_on_timeout") and pytestconfig.getini("faulthandler_timeout") > 0
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Call) and is_unbounded(node)), f"{path.name}:{node.lineno} waits without an end"
