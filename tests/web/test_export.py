"""What cannot be exported, the command, and the room's walls."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from popgym_arcade import cli
from popgym_arcade.web.emitter import Module, UnsupportedError

SRC = pathlib.Path(cli.__file__).parent
THREE = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda x: jnp.fft.fft(x).real, "f cannot be exported: there is no rule for fft of complex numbers"),
        (lambda x: lax.erf(x), "f cannot be exported: the primitive erf has no rule; there are rules for abs, "),
        (lambda x: x.astype(jnp.float16), "convert_element_type is of float16; JavaScript gets bool, int8, "),
        (lambda x: jax.pure_callback(lambda x: x, x, x), "the primitive pure_callback has no rule"),
        (lambda x: jax.random.bits(jax.random.key(0, impl="rbg"), (2,)), "rbg"),
        (lambda x: lax.reduce_precision(x, 5, 10), "reduce_precision has a rule for float32 alone"),
        (lambda x: lax.bitcast_convert_type(x, jnp.uint8), "the sizes differ"),
        (lambda x: jax.vmap(jax.random.bits)(jax.random.split(jax.random.key(0), 2)), "several keys at once"),
    ],
)
def test_what_has_no_rule_is_named(function: Callable[..., Any], complaint: str) -> None:
    with pytest.raises(UnsupportedError, match="f cannot be exported: ") as error:
        Module().add("f", function, THREE)
    assert complaint in str(error.value)


def test_random_bits_of_another_kind() -> None:
    with jax.threefry_partitionable(False), pytest.raises(UnsupportedError, match="jax_threefry_partitionable"):
        Module().add("f", lambda x: x, THREE)


def test_constants_are_kept_once() -> None:
    module = Module()
    table = np.arange(1000, dtype=np.uint8)
    for name in ("f", "g"):
        module.add(name, lambda x: jnp.asarray(table) + x, np.uint8(1))
    text = module.source("About it.")
    assert text.startswith("// About it.\n")
    assert text.count("Uint8Array, 1000]") == 1 and len(text) < 3000


def test_what_nobody_needs_is_left_out() -> None:
    module = Module()
    module.add("f", lambda x: (jnp.sort(x), x + 1)[1], THREE)
    assert "sort" not in module.source()


def test_the_command(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("popgym_arcade.web.export.write", lambda *given: iter(written.append(given) or ()))
    written: list[Any] = []
    out = tmp_path / "pages"
    assert cli.main(["export-web", "Skittles", "NavigatorHard", "SkittlesEasy", "--out", str(out), "--obs-size", "64"]) == 0
    assert written == [(["SkittlesEasy", "SkittlesMedium", "SkittlesHard", "NavigatorHard"], out, 64)]
    assert f"--directory {out}" in capsys.readouterr().out
    assert cli.main(["export-web", "Skitles"]) == 1
    assert "unknown environment 'Skitles'; did you mean Skittles" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert cli.main(["export-web", "--out", str(tmp_path / "file")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err
    assert len(written) == 1


def test_nothing_else_imports_it() -> None:
    for path in SRC.rglob("*.py"):
        if path.parent != SRC / "web" and path.name != "cli.py":
            assert "popgym_arcade.web" not in path.read_text() and "import web" not in path.read_text(), path
