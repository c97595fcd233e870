import errno
import itertools
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import popgym_arcade
from popgym_arcade import cli, demo, files, pictures, registration, room, speed, terminal
from popgym_arcade.baselines.training import run


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(popgym_arcade.registered_envs)
    assert lines[0].endswith(" 300")


def test_demo(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("PIL.Image")
    assert cli.main(["demo", "MineSweeperEasy", "--num-envs", "2", "--seconds", "0.01", "--out", str(tmp_path / "new")]) == 0
    out, err = capsys.readouterr()
    assert "MineSweeperEasy" in out
    assert "1/2  MineSweeperEasy, MDP" in err  # the first line is told at once, later ones now and then
    with image.open(tmp_path / "new" / "sheet.png") as sheet, image.open(tmp_path / "new" / "twins.gif") as twins:
        assert sheet.size[0] > 256
        assert 20 < twins.n_frames <= 48  # frames that are alike are one that lasts longer


def test_the_demo_plays_each_game_once_and_all_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(demo, "run", lambda games, filmed, *_: asked.append((list(games), list(filmed))) or 0)
    everything = list(popgym_arcade.registered_envs)
    easy = [name for name in everything if name.endswith("Easy")]
    for arguments in ([], ["--all"], ["NavigatorHard", "TetrisEasy", "NavigatorHard"]):
        assert cli.main(["demo", *arguments]) == 0
    named = ["NavigatorHard", "TetrisEasy"]
    assert asked == [(easy, easy), (everything, easy), (named, named)]


def test_benchmark(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    arguments = ["NavigatorEasy", "--num-envs", "4", "--seconds", "0.01", "--obs-size", "64", "--json", str(path)]
    assert cli.main(["benchmark", *arguments]) == 0
    assert "NavigatorEasy" in capsys.readouterr().out
    figures = json.loads(path.read_text())
    assert [result["partial_obs"] for result in figures["results"]] == [False, True]
    assert all(result["frames_per_second"] > 0 for result in figures["results"])
    assert all(result["frame_bytes"] == 64 * 64 * 3 for result in figures["results"])


@pytest.mark.parametrize(("paged", "is_told"), [(0, False), (10**9, True)])
def test_new_pages_are_told(
    paged: int, is_told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "_paged_bytes", itertools.count(0, paged).__next__)
    assert cli.main(["benchmark", "CountRecallEasy", "--num-envs", "2", "--seconds", "0.001", "--obs-size", "64"]) == 0
    assert ("GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in capsys.readouterr().out) == is_told


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["demo", "Pong"], "unknown environment 'Pong'"),
        (["demo", "--all", "NavigatorEasy"], "--all plays all games: it cannot be combined with GAME"),
        (["benchmark", "navigatoreasy"], "did you mean NavigatorEasy"),
        (["benchmark", "--obs-size", "32"], "must be from 64 to 512"),
        (["benchmark", "--num-envs", "0"], "must be from 1"),
        (["play", "--seed", "4294967296"], "must be from 0 to 4294967295"),
        (["sweep", "pqn", "--env-ids", "CartPoleEasy", "--seeds", "4294967296"], "must be from 0 to 4294967295"),
        (["evaluate", "skittles-lru", "--seed", "4294967296"], "must be from 0 to 4294967295"),
        (["introspect", "report", "skittles-lru", "--seed", "4294967296"], "must be from 0 to 4294967295"),
        (["demo", "--seconds", "-1"], "must be from 0.001"),
        (["demo", "--seconds", "soon"], "invalid"),
        (["dance"], "invalid choice"),
        ([], "required"),
    ],
)
def test_bad_arguments(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: Any = cli.main(arguments)
    except SystemExit as stop:
        status = stop.code
    assert status in (1, 2)
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "need"),
    [(["benchmark", "--num-envs", "1048576", "--obs-size", "512"], "1,649.3 GB"), (["demo", "--num-envs", "2"], "0.2 MB")],
)
def test_frames_must_fit_into_memory(
    arguments: list[str],
    need: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(room, "_available", lambda: 100_000)
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 1
    assert f"needs {need} of memory; only 0.1 MB are free" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_games_of_others(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_games.py").write_text(
        "import popgym_arcade\nfrom tests.tiny import Tiny\npopgym_arcade.register('Mine', Tiny)\n"
    )
    monkeypatch.setattr(registration, "_constructors", dict(registration._constructors))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["--import", "my_games", "list"]) == 0
    assert "Mine" in capsys.readouterr().out
    assert cli.main(["--import", "no_games", "list"]) == 1
    assert capsys.readouterr().err == "popgym-arcade: there is no module 'no_games' to import\n"


def test_what_cannot_be_written_is_found_before_the_work(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for module, name in ((speed, "measure"), (speed, "fill_rate"), (run, "load")):
        monkeypatch.setattr(module, name, None)
    (tmp_path / "file").touch()
    for name in ("twins.gif", "twins.csv"):
        (tmp_path / "out" / name).mkdir(parents=True)
    for command in (
        ["demo", "NavigatorEasy", "--out", "file"],
        ["demo", "NavigatorEasy", "--out", "out"],
        ["benchmark", "NavigatorEasy", "--json", "file/new.json"],
        ["benchmark", "NavigatorEasy", "--json", "out"],
        ["evaluate", "skittles-lru", "--json", "file/new.json"],
        ["evaluate", "skittles-lru", "--json", "file"],
        ["introspect", "saliency", "skittles-lru", "-o", "out/twins.png"],
        ["introspect", "report", "skittles-lru", "-o", "file/new.html"],
        ["sweep", "pqn", "--env-ids", "CartPoleEasy", "--folder", "file"],
        ["train", "pqn", "--env-id", "CartPoleEasy", "--run", "file/new"],
    ):
        assert cli.main(command) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert command[-1].replace("png", "csv") in line
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "out", "twins.csv", "twins.gif"]


def test_without_pillow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert cli.main(["demo", "NavigatorEasy"]) == 1
    assert capsys.readouterr().err == "popgym-arcade: pictures need Pillow: pip install 'popgym-arcade[demo]'\n"


def test_the_commands_start_without_a_game(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == popgym_arcade.__version__


def test_the_worker_measures_whatever_package_it_finds() -> None:
    command = [sys.executable, "-P", speed.__file__, "--env-id", "CartPoleEasy", "--partial-obs"]
    command += ["--num-envs", "2", "--obs-size", "64", "--seconds", "0.01"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    result = json.loads(done.stdout)
    assert result["partial_obs"] is True
    assert result["fill_rate"] > 0
    assert result["memory_ratio"] < 20


def test_files_are_written_whole(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    synced: list[int] = []
    monkeypatch.setattr(files.os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    files.write_whole(path, b"old")
    assert path.read_bytes() == b"old"
    assert synced == [place.stat().st_ino for place in (tmp_path, path, path.parent)]  # names, too

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="no space.*deep"):
        files.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_table() -> None:
    assert terminal.table(["a", "bb"], [["x", "1"], ["long", "22"]]) == "a     bb\n----  --\nx      1\nlong  22"


def test_wall() -> None:
    frames = [np.full((4, 8, 3), shade, np.uint8) for shade in range(5)]
    wall = pictures.wall(frames)
    assert wall.shape == (2 * 4 + 3 * 12, 3 * 8 + 4 * 12, 3)
    assert {shade for shade in range(5) if np.any(wall == shade)} == set(range(5))
