"""A real terminal session: a process behind a pseudo-terminal, driven by keys, its screen read by a terminal emulator."""

import fcntl
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from popgym_arcade import cli
from popgym_arcade.play import log as logs
from popgym_arcade.play.console import resized
from popgym_arcade.play.session import Session

pyte = pytest.importorskip("pyte")

ROOT = pathlib.Path(__file__).parents[2]
KEYS = {"up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D", "esc": "\x1b"}
PATIENCE = 60.0


class Person:
    """Sits before a terminal."""

    def __init__(self, arguments: list[str], columns: int, rows: int) -> None:
        self._master, slave = pty.openpty()
        self.screen = pyte.Screen(columns, rows)
        self.screen.write_process_input = lambda text: os.write(self._master, text.encode())  # it says where its cursor is
        self._stream = pyte.ByteStream(self.screen)
        self.resize(columns, rows)
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        command = [sys.executable, str(ROOT / "play.py"), *arguments, "--terminal"]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.received = b""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def read(self) -> bool:
        """Read what has come; False at the end."""
        if select.select([self._master], [], [], 0.1)[0]:
            try:
                received = os.read(self._master, 1 << 16)
            except OSError:  # the other end is closed
                return False
            self.received += received
            self._stream.feed(received)
        return True

    def wait(self, condition: Callable[[], bool]) -> None:
        """Read what comes until something is seen."""
        due = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < due and self.read(), "\n".join(self.screen.display)

    def sees(self, words: str) -> Callable[[], bool]:
        return lambda: any(words in line for line in self.screen.display)

    def press(self, key: str) -> None:
        os.write(self._master, KEYS.get(key, key).encode())

    def frame(self, top: int, left: int, size: int) -> np.ndarray:
        """Read pixels back from half blocks."""

        def colour(name: str) -> list[int]:
            return list(bytes.fromhex(name))

        cells = [[self.screen.buffer[top + row][left + column] for column in range(size)] for row in range(size // 2)]
        pixels = [[[colour(cell.fg), colour(cell.bg)] for cell in row] for row in cells]
        return np.array(pixels, np.uint8).transpose(0, 2, 1, 3).reshape(size, size, 3)

    def is_stopped(self) -> bool:
        pid, status = os.waitpid(self.process.pid, os.WUNTRACED | os.WNOHANG)
        return pid != 0 and os.WIFSTOPPED(status)

    def leave(self) -> int:
        """Read to the end; return the status of the process."""
        due = time.monotonic() + PATIENCE
        while self.read():
            assert time.monotonic() < due, "\n".join(self.screen.display)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._master)


@pytest.fixture
def person() -> Iterator[Callable[..., Person]]:
    people: list[Person] = []

    def sit_down(arguments: list[str], columns: int = 70, rows: int = 40) -> Person:
        people.append(Person(arguments, columns, rows))
        return people[-1]

    yield sit_down
    for one in people:
        one.close()


def test_a_session(person: Callable[..., Person], tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log.jsonl"
    player = person(["BattleShipEasy", "--seed", "3", "--obs-size", "64", "--log", str(log)])
    session = Session("BattleShipEasy", 3, 64)
    clock = session.params.max_steps_in_episode
    player.wait(player.sees(f"step 0 of {clock}"))
    np.testing.assert_array_equal(player.frame(2, 3, 64), session.frame(False))  # every pixel is there

    for key, action in (("right", 3), (" ", 4), ("down", 1), ("left", 2), ("up", 0)):
        player.press(key)
        session.act(action)
        player.wait(player.sees(f"step {session.step} of {clock}"))
    np.testing.assert_array_equal(player.frame(2, 3, 64), session.frame(False))
    player.press("t")
    player.wait(player.sees("POMDP"))
    np.testing.assert_array_equal(player.frame(2, 3, 64), session.frame(True))
    player.press("R")
    player.wait(player.sees("seed 4"))
    player.press("esc")
    assert player.leave() == 0
    assert [step.action for step in logs.read_log(log).episodes[0].steps] == [3, 4, 1, 2, 0]
    assert b"\x1b[?1049l" in player.received  # the screen is as it was before
    session.close()


def test_a_small_terminal_and_another_size(person: Callable[..., Person]) -> None:
    player = person(["NavigatorEasy", "--seed", "3"], 80, 24)
    player.wait(player.sees("a larger terminal shows every pixel"))
    player.resize(80, 40)
    player.wait(lambda: player.sees("NavigatorEasy")() and not player.sees("larger")())
    player.press("b")
    player.wait(player.sees("POMDP"))
    player.resize(10, 3)
    time.sleep(0.7)
    player.press("q")
    assert player.leave() == 0


def test_a_game_that_runs_and_the_chooser(person: Callable[..., Person]) -> None:
    player = person(["--seed", "1", "--fps", "30"])
    player.wait(player.sees("Easy MDP"))
    player.press("\r")
    player.wait(player.sees("An arrow or space begins."))
    player.press("left")
    player.wait(player.sees("The rules ended the episode"))  # nobody holds the pole
    player.press("m")
    player.wait(player.sees("Enter or space: play"))
    player.process.send_signal(signal.SIGINT)
    assert player.leave() == 130


def test_a_session_that_is_suspended_and_ended_from_outside(person: Callable[..., Person], tmp_path: pathlib.Path) -> None:
    film = tmp_path / "film.gif"
    player = person(["NavigatorEasy", "--seed", "1", "--record", str(film)])
    player.wait(player.sees("step 0 of 64"))
    player.process.send_signal(signal.SIGTSTP)
    player.wait(player.is_stopped)
    player.wait(lambda: b"\x1b[?1049l" in player.received)  # the shell's screen is to be seen
    player.screen.reset()
    player.process.send_signal(signal.SIGCONT)
    player.wait(player.sees("step 0 of 64"))  # drawn anew
    player.press(" ")
    player.wait(player.sees("step 1 of 64"))
    player.process.terminate()
    assert player.leave() == 143
    assert player.received.count(b"\x1b[?1049l") == 2
    assert film.exists()


def test_nobody_waits_for_ever(person: Callable[..., Person], monkeypatch: pytest.MonkeyPatch) -> None:
    player = person(["NavigatorEasy"])
    monkeypatch.setattr(sys.modules[__name__], "PATIENCE", 0.3)
    with pytest.raises(AssertionError):
        player.leave()
    monkeypatch.undo()


def test_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert cli.main(["play", "NavigatorEasy", "--terminal"]) == 1
    assert capsys.readouterr().err == "popgym-arcade: --terminal needs a terminal: standard input and output are none\n"


def test_resized() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(resized(frame, 64), frame)
    np.testing.assert_array_equal(resized(frame, 128), frame.repeat(2, 0).repeat(2, 1))
    means = frame.reshape(32, 2, 32, 2, 3).astype(float).mean((1, 3))
    np.testing.assert_allclose(resized(frame, 32), means, atol=0.5)
    plain: Any = np.full((64, 64, 3), 77, np.uint8)
    np.testing.assert_array_equal(resized(plain, 36), np.full((36, 36, 3), 77))
