"""Put the pieces of human play together: what `popgym-arcade play` does."""

import contextlib
import pathlib
import secrets
import signal
from typing import Any

from popgym_arcade import registration
from popgym_arcade.checks import SEEDS
from popgym_arcade.environment import view_name
from popgym_arcade.play import log as logs
from popgym_arcade.play import loop
from popgym_arcade.play.chooser import Chooser
from popgym_arcade.play.console import Console
from popgym_arcade.play.display import Command, Display, Page
from popgym_arcade.play.film import Recorder
from popgym_arcade.play.session import Session
from popgym_arcade.play.window import Window

_LOOK_EVERY = 0.05  # seconds between looks at whether the compiler is done
_REPLAY_PACE = 4.0  # steps per second of games that wait for their player


def play(
    game: str | None,
    *,
    partial_obs: bool = False,
    seed: int | None = None,
    obs_size: int | None = None,
    fps: float | None = None,
    in_terminal: bool = False,
    log_path: pathlib.Path | None = None,
    film_path: pathlib.Path | None = None,
) -> None:
    """Let a person play.

    Args:
        game: a name that `make` knows; None: the player chooses.
        partial_obs: the view to begin with.
        seed: that of the first episode, 0 to 2**32 - 1; None: a random one.
        obs_size: size of the frames; None: 128, or what fits into the terminal.
        fps: steps per second of a game that runs by itself; None: the game's own pace.
        in_terminal: whether to play in the terminal rather than in a window.
        log_path: where to write a log, a file that does not exist yet; needs a game.
        film_path: where to write a film, GIF or MP4; needs a game.

    Raises:
        ModuleNotFoundError: if an extra is missing.
        OSError: if a file cannot be written.
        NoDisplayError: if there is no display.
        ValueError: if an argument is not one of those allowed.
    """
    seed = secrets.randbelow(SEEDS) if seed is None else seed
    if game is None and (log_path or film_path):
        raise ValueError("a log or a film is that of one game: name it")
    pace = None if game is None else _pace(game, fps)
    with contextlib.ExitStack() as stack:
        film = _recorder(film_path, pace, stack)
        display = _display(in_terminal, stack)
        size = obs_size or (display.fitting_size() if isinstance(display, Console) else 128)
        if game is None:
            chooser = stack.enter_context(contextlib.closing(Chooser(seed, size, partial_obs)))
            while session := chooser.choose(display):
                view = loop.View(view_name(chooser.partial_obs))
                pace = session.env.steps_per_second and (fps or session.env.steps_per_second)
                if not _await_first_frame(display, session, chooser.partial_obs):
                    return
                if loop.run(display, session, view, pace, has_menu=True) is Command.QUIT:
                    return
                session.begin((session.seed + 1) % SEEDS)
        else:
            session = stack.enter_context(contextlib.closing(Session(game, seed, size, partial_obs)))
            log = stack.enter_context(contextlib.closing(logs.Writer(log_path, session))) if log_path else None
            if _await_first_frame(display, session, partial_obs):
                loop.run(display, session, loop.View(view_name(partial_obs)), pace, log, film)


def replay(
    path: pathlib.Path,
    *,
    obs_size: int | None = None,
    fps: float | None = None,
    in_terminal: bool = False,
    film_path: pathlib.Path | None = None,
) -> None:
    """Show a log again.

    Args:
        path: the log.
        obs_size: size of the frames; None: that of the log.
        fps: steps per second; None: the pace of the game, 4 where it waits for its player.
        in_terminal: whether to show it in the terminal rather than in a window.
        film_path: where to write a film, GIF or MP4.

    Raises:
        ModuleNotFoundError: if an extra is missing.
        OSError: if a file cannot be read or written.
        NoDisplayError: if there is no display.
        ValueError: if the file is broken, or the game does not do what it did.
    """
    log = logs.read_log(path)
    env, _ = registration.make(log.game)
    pace = fps or env.steps_per_second or _REPLAY_PACE
    with contextlib.ExitStack() as stack:
        film = _recorder(film_path, pace, stack)
        display = _display(in_terminal, stack)
        session = stack.enter_context(contextlib.closing(Session(log.game, 0, obs_size or log.obs_size)))
        if _await_first_frame(display, session, False):
            loop.replay(display, session, log, pace, film)


def _leave(number: int, _: Any) -> None:
    raise SystemExit(128 + number)


def _pace(game: str, fps: float | None) -> float | None:
    env, _ = registration.make(game)
    if fps and env.steps_per_second is None:
        raise ValueError(f"{game} waits for its player, so there is no pace to choose")
    return fps or env.steps_per_second


def _recorder(path: pathlib.Path | None, pace: float | None, stack: contextlib.ExitStack) -> Recorder | None:
    return stack.enter_context(contextlib.closing(Recorder(path, pace or _REPLAY_PACE))) if path else None


def _display(in_terminal: bool, stack: contextlib.ExitStack) -> Display:
    for name in ("SIGTERM", "SIGHUP"):  # such as when a connection is lost: what was kept is still written
        if hasattr(signal, name):
            number = getattr(signal, name)
            stack.callback(signal.signal, number, signal.signal(number, _leave))
    return stack.enter_context(contextlib.closing(Console() if in_terminal else Window()))


def _await_first_frame(display: Display, session: Session, partial_obs: bool) -> bool:
    """Say that JAX compiles until there is something to see; tell whether the player is still there."""
    while not session.is_ready(partial_obs):
        display.show(Page(title=session.env.name, lines=(session.env.goal, "compiling ...")))
        key = display.poll(_LOOK_EVERY)
        if key and key.command is Command.QUIT:
            return False
    return True
