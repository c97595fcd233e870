"""Training in processes that are killed, and in several at once."""

import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from popgym_arcade import cli
from popgym_arcade.baselines import checkpoint
from popgym_arcade.baselines.training import run
from tests.baselines.test_training import SMALL, arguments, weights

QUIET = ["--no-tensorboard", "--no-video", "--eval-episodes", "2"]
LIMIT = 300  # seconds; far more than any of this takes


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where the processes keep what they have compiled."""
    return tmp_path_factory.mktemp("compiled")


def begin(compiled: pathlib.Path, *words: str, devices: int = 1) -> subprocess.Popen[str]:
    environment = os.environ | {
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
    }
    command = [sys.executable, "-m", "popgym_arcade.cli", *([] if words[0] == "sweep" else ["train"]), *words, *QUIET]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process: subprocess.Popen[str], status: int = 0) -> str:
    out, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == status, out
    return out


def wait_for_lines(path: pathlib.Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT
    while not path.exists() or len(path.read_text().splitlines()) < count:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(process.communicate(timeout=LIMIT)[0])
        time.sleep(0.02)


def new_words(folder: pathlib.Path, **settings: Any) -> list[str]:
    return ["pqn", *arguments(SMALL | settings), "--run", str(folder)]


def told(folder: pathlib.Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "second" not in name} for line in lines]


def test_killed_runs_end_as_if_nothing_had_happened(tmp_path: pathlib.Path, compiled: pathlib.Path) -> None:
    settings: Any = {"total_timesteps": 64 * 150, "memory": "lru"}
    end(begin(compiled, *new_words(tmp_path / "alone", **settings)))
    folder = tmp_path / "killed"
    rng = random.Random(0)
    often = ["--checkpoint-minutes", "0.0005"]
    words = [*new_words(folder, **settings), *often]
    for lines, how in ((10, signal.SIGKILL), (60, signal.SIGTERM)):
        process = begin(compiled, *words)
        wait_for_lines(folder / "metrics.jsonl", lines, process)
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(how)
        out, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130), out
        assert ("--resume" in out) == (how != signal.SIGKILL)
        words = ["--resume", str(folder), *often]
    end(begin(compiled, *words))
    for one, other in zip(weights(folder), weights(tmp_path / "alone"), strict=True):
        np.testing.assert_array_equal(one, other)
    assert told(folder) == told(tmp_path / "alone")
    assert not run.leftovers(folder)


def test_the_runs_of_a_killed_sweep_end(
    tmp_path: pathlib.Path, compiled: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "pqn", "--env-ids", "AutoEncodeEasy", "--view", "pomdp", "--memories", "mingru"]
    options = arguments(SMALL | {"total_timesteps": 64 * 10**6})
    command += ["--folder", str(tmp_path), "--", *options[options.index("--obs-size") :]]
    sweep = begin(compiled, *command)
    folder = tmp_path / "AutoEncodeEasy-pomdp-pqn-mingru-seed0"
    wait_for_lines(folder / "metrics.jsonl", 5, sweep)
    assert cli.main([*command, *QUIET]) == 1
    assert f"{folder} is being trained by process " in capsys.readouterr().err
    sweep.kill()
    sweep.communicate(timeout=LIMIT)
    deadline = time.monotonic() + LIMIT
    while "--resume" not in (tmp_path / "output" / f"{folder.name}.txt").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert int(checkpoint.steps(folder / "checkpoints")[-1].stem) == len(told(folder))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def begin_two(compiled: pathlib.Path, words: list[str]) -> list[subprocess.Popen[str]]:
    address = ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2"]
    return [begin(compiled, *words, *address, "--process-id", str(number), devices=2) for number in range(2)]


@pytest.mark.parametrize(
    ("algorithm", "memory"),
    [
        ("pqn", "mingru"),
        pytest.param("pqn", "none-small", marks=pytest.mark.slow),
        pytest.param("ppo", "none-small", marks=pytest.mark.slow),
        pytest.param("dqn", "mingru", marks=pytest.mark.slow),
        pytest.param("dqn", "none-small", marks=pytest.mark.slow),
    ],
)
def test_processes_that_share_the_work_agree_with_one(
    algorithm: str, memory: str, tmp_path: pathlib.Path, compiled: pathlib.Path
) -> None:
    settings: Any = {"num_envs": 8, "memory": memory}
    end(begin(compiled, algorithm, *new_words(tmp_path / "one", **settings)[1:]))
    for process in begin_two(compiled, [algorithm, *new_words(tmp_path / "two", **settings)[1:]]):
        end(process)
    for one, other in zip(weights(tmp_path / "one"), weights(tmp_path / "two"), strict=True):
        assert np.abs(one - other).max() < 1e-4 * np.abs(one).max()
    for one, other in zip(told(tmp_path / "one"), told(tmp_path / "two"), strict=True):
        np.testing.assert_allclose(
            *([np.nan if x is None else x for x in line.values()] for line in (one, other)), rtol=1e-4
        )


@pytest.mark.parametrize(
    ("lost", "how"),
    [
        pytest.param(0, signal.SIGKILL, id="the first one"),
        pytest.param(1, signal.SIGKILL, id="the second one"),
        pytest.param(1, signal.SIGSTOP, id="out of reach", marks=pytest.mark.slow),
    ],
)
def test_a_lost_process_ends_the_others_and_the_run_goes_on_elsewhere(
    lost: int, how: signal.Signals, tmp_path: pathlib.Path, compiled: pathlib.Path
) -> None:
    folder = tmp_path / "run"
    words = new_words(folder, num_envs=8, total_timesteps=128 * 150)
    both = begin_two(compiled, [*words, "--checkpoint-minutes", "0.001"])
    wait_for_lines(folder / "metrics.jsonl", 5, both[0])
    both[lost].send_signal(how)
    begun = time.monotonic()
    out = end(both[1 - lost], status=1)
    assert time.monotonic() - begun < 60
    both[lost].kill()
    both[lost].communicate(timeout=LIMIT)
    line = f"popgym-arcade: another process that trains {folder} is lost; train --resume {folder} goes on"
    assert [each for each in out.splitlines() if "popgym-arcade" in each] == [line]
    assert not re.search(r"Traceback|\*\*\*|^[EFW]\d{4} ", out, re.MULTILINE), out
    end(begin(compiled, "--resume", str(folder), devices=1))
    assert [line["steps"] for line in told(folder)] == [128 * number for number in range(1, 151)]


def test_an_error_of_one_process_ends_the_others(tmp_path: pathlib.Path, compiled: pathlib.Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "mine.txt").touch()
    first, second = begin_two(compiled, new_words(folder, num_envs=8))
    assert "exists already; choose another --run" in end(first, status=1)
    assert end(second, status=1).splitlines()[-1].startswith("popgym-arcade: another process that trains ")
