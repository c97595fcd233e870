"""The scripts in examples/ run."""

import pathlib
import runpy
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


def test_ppo(capfd: pytest.CaptureFixture[str]) -> None:
    script: dict[str, Any] = runpy.run_path(str(EXAMPLES / "ppo_gymnax_style.py"))
    small = {"num_envs": 4, "num_steps": 40, "epochs": 1, "minibatches": 2}
    train = jax.jit(script["make_train"](script["Config"](updates=2, **small)))
    params, returns = train(jax.random.key(0))
    jax.effects_barrier()
    assert capfd.readouterr().out.count("update") == 2
    assert returns.shape == (2,)
    assert np.all(np.abs(returns) <= 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    other, _ = train(jax.random.key(1))
    assert not all(np.array_equal(*leaves) for leaves in zip(*map(jax.tree.leaves, (params, other)), strict=True))


def test_ppo_on_the_command_line() -> None:
    command = [sys.executable, str(EXAMPLES / "ppo_gymnax_style.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "--partial-obs" in done.stdout


def test_saliency(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "maps.png"
    monkeypatch.setattr(sys, "argv", ["saliency.py", "--steps", "2", "--out", str(picture)])
    runpy.run_path(str(EXAMPLES / "saliency.py"), run_name="__main__")
    assert picture.exists()
    assert "decision 0: 100% of the gradient is on the present frame" in capsys.readouterr().out
