import errno
import pathlib
import subprocess
import sys
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from popgym_arcade import files
from popgym_arcade.introspection import contamination, density, figures, gap
from popgym_arcade.scores import Aggregate
from popgym_arcade.tables import Table

CONFIG = {"ENV_NAME": "NavigatorEasy", "PARTIAL": True, "MEMORY_TYPE": "LRU", "SEED": 0}
RANDOM = np.random.default_rng(0)
FRAMES = RANDOM.integers(0, 256, (14, 64, 64, 3), np.uint8)
MAPS = [RANDOM.normal(size=(i + 1, 64, 64, 3)).astype(np.float32) for i in range(14)]


@pytest.mark.parametrize(("suffix", "begin"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_vis_fn(suffix: str, begin: bytes, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / f"maps.{suffix}"
    figure = figures.vis_fn(MAPS[:3], FRAMES[:3], CONFIG, path)
    assert path.read_bytes().startswith(begin)
    assert capsys.readouterr().out == f"wrote {path}\n"
    assert sum(axis.axison for axis in figure.axes) == 3 + 6 + 1  # frames, maps, scale
    assert "NavigatorEasy (POMDP), memory lru, seed 0" in figure.get_suptitle()


def test_many_steps_are_thinned_out(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    figure = figures.vis_fn(MAPS, FRAMES, CONFIG)
    assert (tmp_path / "NavigatorEasy-pomdp-lru-seed0-saliency.png").exists()
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert len(titles) == 12 and titles[0] == "frame 0" and titles[-1] == "frame 13"


def test_other_figures(tmp_path: pathlib.Path) -> None:
    with mpl.rc_context({"text.usetex": True}):  # whatever the user has set
        curves = [RANDOM.dirichlet(np.ones(30), 4) for _ in range(2)]
        thirds = [curve.reshape(4, 3, 10).sum(-1) for curve in curves]
        figures.save(figures.density_figure(density.spread(curves), density.spread(thirds), "x"), tmp_path / "d.png")
        alone = density.spread([curves[0][:1]]), density.spread([thirds[0][:1]])
        figures.save(figures.density_figure(*alone, "one episode"), tmp_path / "d1.png")
        matrix = np.triu(RANDOM.random((6, 6)))
        noise = contamination.Contamination(np.arange(6), matrix, matrix, np.ones(6), 0.5)
        effect = contamination.Effect(density.spread([np.ones((2, 6))]), density.spread([np.ones((2, 6))]), 2.0)
        figures.save(figures.contamination_figure(noise, {"noise": effect}, "x"), tmp_path / "c.svg")
        one = [gap.Measured("A", "gru", Aggregate(0.1, 0.05, 0.2), (0.5, 0.4), (1, 1))]
        for gaps, biases, pomdp in ((one, [], []), ([], one, []), (one, one, one)):
            figures.save(figures.gap_figure(gap.GapStudy([], gaps, biases, pomdp, ())), tmp_path / "g.pdf")
    assert {path.name for path in tmp_path.iterdir()} == {"d.png", "d1.png", "c.svg", "g.pdf"}


def test_bad_input(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"must end in .png, .pdf, .svg, got 'maps.pgn'"):
        figures.vis_fn(MAPS[:2], FRAMES[:2], CONFIG, "maps.pgn")
    with pytest.raises(ValueError, match=r"as many as the 3 of obs_seq, got \[1, 2\]"):
        figures.vis_fn(MAPS[:2], FRAMES[:3], CONFIG, tmp_path / "maps.png")
    with pytest.raises(ValueError, match="grads must be maps of 1, 2, ... frames"):
        figures.vis_fn([], FRAMES[:0], CONFIG, tmp_path / "maps.png")
    with pytest.raises(ValueError, match="did you mean NavigatorEasy"):
        figures.vis_fn(MAPS[:2], FRAMES[:2], CONFIG | {"ENV_NAME": "Navigatoreasy"})
    assert not list(tmp_path.iterdir())


def test_files_are_written_whole(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "maps.png"
    path.write_bytes(b"old")

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match=r"no space.*maps.png"):
        figures.vis_fn(MAPS[:2], FRAMES[:2], CONFIG, path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_tables(tmp_path: pathlib.Path) -> None:
    Table(("a", "b"), [(1, np.float32(0.5)), ("x,y", 1 / 3)]).save(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == 'a,b\n1,0.5\n"x,y",0.333333\n'


def test_imports() -> None:
    """The paper's path loads late, figures leave pyplot alone, and the command line needs none of it."""
    code = (
        "import sys\n"
        "import popgym_arcade.cli, popgym_arcade.introspection.command\n"
        "assert not {'equinox', 'matplotlib', 'optax', 'PIL'} & set(sys.modules)\n"
        "import popgym_arcade.baselines.utils as utils\n"
        "assert 'popgym_arcade.introspection.figures' not in sys.modules\n"
        "assert callable(utils.vis_fn) and callable(utils.get_saliency_maps)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()\n"
        "assert not hasattr(utils, 'vis')\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], timeout=120, check=True)
