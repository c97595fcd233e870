import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from popgym_arcade import cli
from popgym_arcade.graphics import palette
from popgym_arcade.play import log as logs
from popgym_arcade.play.display import Command, Key, Page
from popgym_arcade.play.window import Window

pygame = pytest.importorskip("pygame")
FRAME = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)


@pytest.fixture(autouse=True)
def dummy_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def picture() -> np.ndarray:
    """What is in the window: uint8[height, width, 3]."""
    return np.swapaxes(pygame.surfarray.array3d(pygame.display.get_surface()), 0, 1)


def find(frame: np.ndarray, scale: int) -> list[tuple[int, int]]:
    """Where in the window a frame is seen, enlarged: (top, left) of each."""
    big, whole = frame.repeat(scale, 0).repeat(scale, 1), picture()
    corners = np.argwhere((whole[: -len(big) + 1, : -len(big) + 1] == big[0, 0]).all(-1))
    found = [
        (top, left) for top, left in corners if np.array_equal(whole[top : top + len(big), left : left + len(big)], big)
    ]
    return [(int(top), int(left)) for top, left in found]


@pytest.mark.parametrize(("width", "height", "scale"), [(800, 720, 8), (300, 700, 4), (200, 260, 2)])
def test_frames_are_enlarged_by_whole_numbers(width: int, height: int, scale: int) -> None:
    window = Window()
    pygame.display.set_mode((width, height), pygame.RESIZABLE)
    window.show(Page(title="title", frames=(FRAME,), captions=("MDP",), lines=("one", "two", "three")))
    ((_, left),) = find(FRAME, scale)
    assert left + 32 * scale == width // 2
    window.close()


def test_twins_stand_side_by_side() -> None:
    window = Window()
    other = FRAME[::-1]
    window.show(Page(title="title", frames=(FRAME, other), captions=("MDP", "POMDP")))
    ((top, left),), ((other_top, other_left),) = find(FRAME, 6), find(other, 6)
    assert top == other_top
    assert left + 6 * 64 <= other_left
    window.close()


@pytest.mark.parametrize("size", [(1, 1), (40, 30), (2000, 100)])
def test_any_size_of_window(size: tuple[int, int]) -> None:
    window = Window()
    pygame.display.set_mode(size, pygame.RESIZABLE)
    window.show(Page(title="a long title", frames=(FRAME, FRAME), captions=("MDP", "POMDP"), lines=("a line",) * 4))
    window.show(Page(title="a long title", menu=("one", "two"), selected=1, lines=("a line",)))
    window.close()


def test_the_menu_shows_what_is_selected() -> None:
    window = Window()
    middles = []
    for selected in range(3):
        window.show(Page(title="title", menu=("one", "two", "three"), selected=selected))
        middles.append(np.flatnonzero((picture() == palette.SKY).all(-1).sum(1) > 100).mean())
    assert np.diff(middles).min() > 20
    window.close()


def test_keys() -> None:
    window = Window()
    pygame.event.clear()
    for kind, key in ((pygame.KEYDOWN, pygame.K_UP), (pygame.KEYUP, pygame.K_UP), (pygame.KEYDOWN, pygame.K_F5)):
        pygame.event.post(pygame.event.Event(kind, key=key))
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert [window.poll(None) for _ in range(3)] == [Key(Command.UP), Key(Command.UP, False), Key(Command.QUIT)]
    assert window.poll(0.0) is None
    assert window.poll(0.02) is None
    pygame.event.post(pygame.event.Event(pygame.WINDOWEXPOSED))
    assert window.poll(1.0) == Key(Command.REDRAW)
    window.close()


def test_ctrl_c_while_it_waits(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "popgym_arcade.cli", "play", "BattleShipEasy", "--log", str(log)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        due = time.monotonic() + 60
        while not log.exists() and time.monotonic() < due:
            time.sleep(0.05)
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.endswith("popgym-arcade: interrupted\n")


class Person:
    """Presses the next key of a list whenever a frame is to be seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, keys: list[Any]) -> None:
        self.pages: list[Page] = []
        show = Window.show

        def watch(window: Window, page: Page) -> None:
            show(window, page)
            self.pages.append(page)
            if page.frames:
                pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=keys.pop(0)))

        monkeypatch.setattr(Window, "show", watch)


def test_play_and_replay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, film = tmp_path / "log.jsonl", tmp_path / "film.gif"
    live = Person(monkeypatch, [pygame.K_RIGHT, pygame.K_SPACE, pygame.K_t, pygame.K_LEFT, pygame.K_b, pygame.K_ESCAPE])
    arguments = ["play", "NavigatorEasy", "--view", "pomdp", "--seed", "3", "--obs-size", "64"]
    assert cli.main([*arguments, "--log", str(log), "--record", str(film)]) == 0
    frames = [page.frames for page in live.pages if page.frames]
    assert [step.action for step in logs.read_log(log).episodes[0].steps] == [3, 4, 2]
    assert [step.view for step in logs.read_log(log).episodes[0].steps] == ["POMDP", "POMDP", "MDP"]
    with pytest.importorskip("PIL.Image").open(film) as movie:
        assert movie.size == (64, 64)
        assert movie.n_frames == 4
    waits = [page.lines for page in live.pages if not page.frames]
    assert waits and set(waits) == {("Fetch the treasure and keep away from the TNT.", "compiling ...")}

    monkeypatch.undo()
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    keys = [pygame.K_F5] * 4 + [pygame.K_b, pygame.K_ESCAPE]
    again = Person(monkeypatch, keys)
    movie = tmp_path / "film.mp4"
    assert cli.main(["play", "--replay", str(log), "--fps", "50", "--record", str(movie)]) == 0
    assert capsys.readouterr().err == ""
    shown = [page.frames for page in again.pages if page.frames]
    for then, now in zip([*frames[:2], frames[3]], shown[:3], strict=True):  # the third step was taken after the switch
        np.testing.assert_array_equal(then[0], now[0])
    with pytest.importorskip("av").open(movie) as container:
        assert len(list(container.decode(video=0))) == 4


def test_the_chooser(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    down, enter, menu = pygame.K_DOWN, pygame.K_RETURN, pygame.K_m
    choose = [down, down, pygame.K_RIGHT, pygame.K_t, enter]
    person = Person(monkeypatch, [*choose, pygame.K_SPACE, menu, pygame.K_UP, pygame.K_SPACE, pygame.K_ESCAPE])
    assert cli.main(["play", "--seed", "0", "--obs-size", "64"]) == 0
    titles = list(dict.fromkeys(page.title for page in person.pages))
    assert titles == ["POPGym Arcade", "CountRecallMedium   seed 0", "NoisyCartPoleMedium   seed 0"]
    looks = [(page.selected, page.captions[0]) for page in person.pages if page.menu and page.frames]
    easy, medium = [(0, "Easy MDP"), (1, "Easy MDP"), (2, "Easy MDP")], [(2, "Medium MDP"), (2, "Medium POMDP")]
    assert looks == [*easy, *medium, medium[1], (1, "Medium POMDP")]
    looks = [page for page in person.pages if page.menu and page.frames]
    assert looks[0].lines[0] == "Balance a pole on a cart."
    assert len(looks[0].menu) == 10
    assert all(page.lines[:2] == ("Balance a pole on a cart.", "compiling ...") for page in person.pages[:1])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["Pong"], "unknown environment 'Pong'"),
        (["NavigatorEasy", "--seed", "-1"], "must be from 0"),
        (["NavigatorEasy", "--fps", "5"], "NavigatorEasy waits for its player"),
        (["CartPoleEasy", "--fps", "0"], "must be from 0.1 to 100, got 0"),
        (["NavigatorEasy", "--record", "exists/new/film.gif"], "exists"),
        (["NavigatorEasy", "--record", "film.avi"], "a film is a .gif or .mp4 file"),
        (["--log", "log.jsonl"], "name it"),
        (["--record", "film.gif"], "name it"),
        (["--replay", "missing.jsonl"], "missing.jsonl"),
        (["NavigatorEasy", "--replay", "log"], "cannot be combined with GAME"),
        (["--replay", "log", "--seed", "0"], "cannot be combined with --seed"),
        (["--replay", "log", "--view", "pomdp"], "cannot be combined with --view"),
        (["NavigatorEasy", "--log", "exists"], "exists already"),
        (["NavigatorEasy", "--record", "exists/film.gif"], "exists"),
    ],
)
def test_bad_arguments(
    arguments: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exists").touch()
    try:
        status: Any = cli.main(["play", *arguments])
    except SystemExit as stop:
        status = stop.code
    assert status in (1, 2)
    assert complaint in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["exists"]


def test_without_a_screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if os.name == "posix":
        monkeypatch.setattr("sys.platform", "linux")
    assert cli.main(["play", "NavigatorEasy"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--terminal" in err


def test_with_a_screen_that_does_not_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "none")
    assert cli.main(["play", "NavigatorEasy"]) == 1
    assert "no window can be opened here (none not available): try --terminal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "arguments"),
    [("pygame", []), ("blessed", ["--terminal"]), ("av", ["--record", "x.mp4"]), ("PIL", ["--record", "x.gif"])],
)
def test_missing_extras(
    module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(["play", "NavigatorEasy", *arguments]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "pip install 'popgym-arcade[" in err
