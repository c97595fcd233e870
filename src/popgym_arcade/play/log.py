"""Logs of play: JSON lines that tell what a person did and got, enough to see every episode again.

The first line says what was played and by which version. Each episode has a line with its seed, one for every step
(action, reward, and the view the player saw: "MDP", "POMDP" or "both"), and one for its end (how, return, number of
steps, a checksum of the final state). Lines are written as they happen.
"""

import dataclasses
import json
import pathlib
from typing import Any

import jax

import popgym_arcade
from popgym_arcade import registration
from popgym_arcade.checks import SEEDS
from popgym_arcade.play.session import Session

FORMAT = 1
VIEWS = ("MDP", "POMDP", "both")
ENDS = ("terminated", "truncated", "left")


class Writer:
    """Writes a log; the file must not exist yet."""

    def __init__(self, path: pathlib.Path, session: Session) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = path.open("x", encoding="utf-8")
        except FileExistsError:
            raise FileExistsError(f"{path} exists already; choose another name") from None
        self._session = session
        self._line(
            format=FORMAT,
            game=session.env.name,
            env_version=session.env.version,
            obs_size=session.env.obs_size,
            popgym_arcade=popgym_arcade.__version__,
            jax=jax.__version__,
        )
        self._is_open = False

    def step(self, action: int, reward: float, view: str) -> None:
        """Write a step that the session has taken."""
        if not self._is_open:
            self._line(seed=self._session.seed)
            self._is_open = True
        self._line(action=action, reward=reward, view=view)
        if self._session.end:
            self.leave()

    def leave(self) -> None:
        """Write the end of the episode, if one was begun."""
        if self._is_open:
            session = self._session
            total = round(session.total, 6)
            self._line(end=session.end or "left", total=total, steps=session.step, state=session.digest())
            self._is_open = False

    def close(self) -> None:
        """Finish the log."""
        self.leave()
        self._file.close()

    def _line(self, **fields: Any) -> None:
        self._file.write(json.dumps(fields) + "\n")
        self._file.flush()


@dataclasses.dataclass(frozen=True)
class Step:
    """A step that was logged."""

    line: int
    action: int
    reward: float
    view: str


@dataclasses.dataclass(frozen=True)
class End:
    """The end of a logged episode."""

    line: int
    end: str
    total: float
    steps: int
    state: str


@dataclasses.dataclass
class LoggedEpisode:
    """An episode that was logged; it has no end, if the player's process was killed."""

    seed: int
    steps: list[Step] = dataclasses.field(default_factory=list)
    end: End | None = None


@dataclasses.dataclass(frozen=True)
class Log:
    """The contents of a log."""

    path: pathlib.Path
    game: str
    obs_size: int
    made_by: str
    episodes: list[LoggedEpisode]

    def error(self, line: int, message: str) -> ValueError:
        """Return the error that names a line of the file."""
        return _error(self.path, line, message)


def read_log(path: pathlib.Path) -> Log:
    """Read a log.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not a log that this version can read; it names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise _error(path, 1, "this is not text") from None
    lines.pop()  # nothing, or what a process that was killed did not finish
    log: Log | None = None
    episode: LoggedEpisode | None = None
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            raise _error(path, number, "this is not JSON") from None
        if not isinstance(fields, dict):
            raise _error(path, number, "this is not an object")
        if log is None:
            log = _header(path, fields)
        elif "seed" in fields:
            episode = LoggedEpisode(_field(path, number, fields, "seed", int))
            if episode.seed not in range(SEEDS):
                raise _error(path, number, f"seed must be from 0 to {SEEDS - 1}, got {episode.seed}")
            log.episodes.append(episode)
        elif episode is None or episode.end:
            raise _error(path, number, 'an episode begins with a line such as {"seed": 0}')
        elif "action" in fields:
            episode.steps.append(_step(path, number, fields))
        elif "end" in fields:
            episode.end = _end(path, number, fields)
        else:
            raise _error(path, number, "this is neither a seed nor a step nor an end")
    if log is None:
        raise _error(path, 1, "the file is empty")
    return log


def _header(path: pathlib.Path, fields: dict[str, Any]) -> Log:
    if "format" not in fields:
        raise _error(path, 1, "this is not a log of popgym-arcade play")
    if fields["format"] != FORMAT:
        raise _error(path, 1, f"this log has format {fields['format']!r}, this version reads format {FORMAT}")
    made_by = f"the log was made by popgym-arcade {fields.get('popgym_arcade')} with jax {fields.get('jax')}"
    game, size = _field(path, 1, fields, "game", str), _field(path, 1, fields, "obs_size", int)
    version = _field(path, 1, {"env_version": 0} | fields, "env_version", int)  # former logs do not tell
    try:
        popgym_arcade.make(game, obs_size=size)
    except ValueError as error:
        raise _error(path, 1, str(error)) from None
    if rules := registration.other_rules(game, version):
        raise _error(path, 1, f"this was played under {rules}")
    return Log(path, game, size, made_by, [])


def _step(path: pathlib.Path, line: int, fields: dict[str, Any]) -> Step:
    action = _field(path, line, fields, "action", int)
    reward = _field(path, line, fields, "reward", int | float)
    view = _field(path, line, fields, "view", str)
    if action not in range(5):
        raise _error(path, line, f"action must be from 0 to 4, got {action}")
    if view not in VIEWS:
        raise _error(path, line, f"view must be one of {', '.join(VIEWS)}, got {view!r}")
    return Step(line, action, reward, view)


def _end(path: pathlib.Path, line: int, fields: dict[str, Any]) -> End:
    end = _field(path, line, fields, "end", str)
    if end not in ENDS:
        raise _error(path, line, f"end must be one of {', '.join(ENDS)}, got {end!r}")
    total, steps = _field(path, line, fields, "total", int | float), _field(path, line, fields, "steps", int)
    return End(line, end, total, steps, _field(path, line, fields, "state", str))


def _field(path: pathlib.Path, line: int, fields: dict[str, Any], name: str, kind: Any) -> Any:
    value = fields.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _error(path, line, f"{name} is missing" if name not in fields else f"{name} cannot be {value!r:.40}")
    return value


def _error(path: pathlib.Path, line: int, message: str) -> ValueError:
    return ValueError(f"{path}, line {line}: {message}")
