"""The cache of compiled programs: where it is, when it is used, and that it stays bounded."""

import os
import pathlib
import subprocess
import sys
from typing import Any, cast

import jax
import pytest

from popgym_arcade import cli, compile_cache

CODE = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax import monitoring
from popgym_arcade import compile_cache
told = []
monitoring.register_event_listener(lambda event, **_: told.append(event))
compile_cache.enable()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(jax.jit(lambda x: jnp.sort(x).sum())(np.arange(8.0)))
print(told.count("/jax/compilation_cache/cache_hits"), jax.config.jax_compilation_cache_dir)
"""


def compile_in_a_process(cache: pathlib.Path, **variables: str) -> list[str]:
    names = ("JAX_ENABLE_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"XDG_CACHE_HOME": str(cache)} | variables
    command = [sys.executable, "-W", "error", "-c", CODE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert not done.stderr
    result, told = done.stdout.splitlines()
    assert result == "28.0"
    return told.split()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders")
def test_a_second_process_compiles_nothing(tmp_path: pathlib.Path) -> None:
    hits, folder = compile_in_a_process(tmp_path)
    assert hits == "0" and pathlib.Path(folder).parent == tmp_path / "popgym-arcade"
    assert compile_in_a_process(tmp_path) == ["1", folder]
    own = str(tmp_path / "own")
    assert compile_in_a_process(tmp_path, JAX_COMPILATION_CACHE_DIR=own) == ["0", own]
    assert compile_in_a_process(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false") == ["0", "None"]
    (tmp_path / "file").touch()
    assert compile_in_a_process(tmp_path / "file") == ["0", "None"]


def test_the_oldest_programs_are_removed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_cache, "_MOST_BYTES", 250)
    for age, name in enumerate(("new", "middle", "old")):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    compile_cache._prune(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"new", "middle"}


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "nothing"],
        ["play", "nothing"],
        ["demo", "nothing"],
        ["introspect", "density", "nothing"],
        ["train", "pqn", "--env-id", "nothing"],
        ["train", "--resume", "nothing"],
    ],
)
def test_commands_can_do_without(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    enabled: list[Any] = []
    monkeypatch.setattr(compile_cache, "enable", lambda: enabled.append(words))
    assert cli.main([*words, "--no-compile-cache"]) == 1 and not enabled
    assert cli.main(words) == 1 and enabled == [words]


def test_a_benchmark_compiles() -> None:
    """Its compile times are measured."""
    with pytest.raises(SystemExit):
        cli.main(["benchmark", "--no-compile-cache"])
    assert cast(Any, jax.config).jax_compilation_cache_dir is None
