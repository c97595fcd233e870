"""The loop of play: keys in, steps taken, pages out; on any display, live or from a log."""

import time

import numpy as np

from popgym_arcade.checks import SEEDS
from popgym_arcade.play import log as logs
from popgym_arcade.play.display import Command, Display, Page
from popgym_arcade.play.film import Recorder
from popgym_arcade.play.session import Session

_HELP = ("arrows: move   space: fire   R: next seed   H: goal", "T: other view   B: both views   {more}Esc: quit")
_REPLAY_HELP = ("P: pause   H: goal   T: other view   B: both views   Esc: quit",)
_SHOWN = {"MDP": (False,), "POMDP": (True,), "both": (False, True)}


class View:
    """The part of a game that is on the screen."""

    def __init__(self, name: str) -> None:
        self.name = name
        """ "MDP", "POMDP" or "both"."""
        self.shows_goal = False
        """Whether it says what to do."""
        self._single = name if name != "both" else "MDP"

    def handle(self, command: Command) -> None:
        """Change sides, show both, or say what to do."""
        if command is Command.SWITCH:
            self._single = "MDP" if self._single == "POMDP" else "POMDP"
            self.name = self._single
        elif command is Command.BOTH:
            self.name = self._single if self.name == "both" else "both"
        elif command is Command.GOAL:
            self.shows_goal = not self.shows_goal

    def frames(self, session: Session) -> tuple[np.ndarray, ...]:
        """Draw what is to be seen."""
        return tuple(session.frame(partial_obs) for partial_obs in _SHOWN[self.name])

    def page(self, session: Session, message: str, help_lines: tuple[str, ...]) -> Page:
        """Put frames and figures together."""
        clock = int(session.params.max_steps_in_episode)
        figures = f"score {int(session.state.score)}   return {session.total:+.3f}   step {session.step} of {clock}"
        return Page(
            title=f"{session.env.name}   seed {session.seed}",
            frames=self.frames(session),
            captions=("MDP", "POMDP") if self.name == "both" else (self.name,),
            lines=(figures, f"{session.env.goal} {message}".rstrip() if self.shows_goal else message, *help_lines),
        )


class Hands:
    """The keys that the player presses and holds."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._held: list[Command] = []
        self._pressed: Command | None = None

    def next(self) -> Command:
        """Wait for a key to go down."""
        while (command := self._poll(None)) is None:
            pass
        return command

    def until(self, due: float) -> Command | None:
        """Gather actions until a time, in seconds of `time.monotonic`; another command is returned at once."""
        while (seconds := due - time.monotonic()) > 0:
            command = self._poll(seconds)
            if command and not command.is_action:
                return command
            self._pressed = command or self._pressed
        return None

    def action(self, idle: int) -> Command:
        """Return the action that was pressed last since the last call, else the one held down, else `idle`."""
        action = self._pressed or (self._held[-1] if self._held else Command(idle))
        self._pressed = None
        return action

    def _poll(self, seconds: float | None) -> Command | None:
        key = self._display.poll(seconds)
        if key is None:
            return None
        if key.command.is_action and self._display.can_see_releases:
            self._held = [held for held in self._held if held is not key.command] + [key.command] * key.is_down
        return key.command if key.is_down else None


def run(
    display: Display,
    session: Session,
    view: View,
    pace: float | None = None,
    log: logs.Writer | None = None,
    film: Recorder | None = None,
    has_menu: bool = False,
) -> Command:
    """Let a person play episode after episode.

    Args:
        display: where.
        session: what, at the start of an episode.
        view: in which view.
        pace: steps per second; None: the game waits for its player.
        log: gets every step.
        film: gets every picture.
        has_menu: whether there is a menu to go back to.

    Returns:
        How the player left: `Command.QUIT` or `Command.MENU`.
    """
    hands = Hands(display)
    more = ("P: pause   " if pace is not None else "") + ("M: menu   " if has_menu else "")
    help_lines = tuple(line.format(more=more) for line in _HELP)
    due = 0.0
    is_paused = pace is not None  # a game that runs by itself begins with the first key
    view.shows_goal = True  # until the first step
    _shoot(film, view, session)
    while True:
        display.show(view.page(session, _message(session, is_paused), help_lines))
        session.prepare()
        is_running = pace is not None and not is_paused and not session.end
        command = (hands.until(due) or hands.action(session.env.idle_action)) if is_running else hands.next()
        if command.is_action and not session.end:
            reward = session.act(command.value)
            if log:
                log.step(command.value, reward, view.name)
            _shoot(film, view, session)
            if pace is not None:
                due = max(due, time.monotonic() - 1 / pace) + 1 / pace
                is_paused = False
            view.shows_goal = False
        elif command is Command.RESTART:
            if log:
                log.leave()
            session.begin((session.seed + 1) % SEEDS)
            _shoot(film, view, session)
            is_paused = pace is not None
        elif command is Command.PAUSE:
            is_paused = is_running
        elif command is Command.QUIT or (command is Command.MENU and has_menu):
            if log:
                log.leave()
            return command
        else:
            view.handle(command)
            is_paused = is_paused or (is_running and view.shows_goal)  # nothing moves while the player reads


def replay(display: Display, session: Session, log: logs.Log, pace: float, film: Recorder | None = None) -> None:
    """Show the episodes of a log again, and compare what happens with what was logged.

    Args:
        display: where.
        session: the game of the log.
        log: what was played.
        pace: steps per second.
        film: gets every picture.

    Raises:
        ValueError: if the game does not do what it did; it names the line of the log.
    """
    if not any(episode.steps for episode in log.episodes):
        raise ValueError(f"{log.path} holds no step")
    hands = Hands(display)
    view = View("MDP")

    def watch(seconds: float | None, message: str) -> bool:
        """Show the page for some seconds, and handle keys; tell whether to go on."""
        due = None if seconds is None else time.monotonic() + seconds
        is_paused = False
        while True:
            display.show(view.page(session, "Paused." if is_paused else message, _REPLAY_HELP))
            session.prepare()
            command = hands.next() if is_paused or due is None else hands.until(due)
            if command is Command.QUIT:
                return False
            if command is None:
                return True
            if command is Command.PAUSE:
                is_paused = not is_paused
            view.handle(command)

    for number, episode in enumerate(log.episodes, 1):
        message = f"Replay of episode {number} of {len(log.episodes)}."
        session.begin(episode.seed)
        logged = ""
        for step in episode.steps:
            if step.view != logged:  # the player changed it
                view, logged = View(step.view), step.view
            if session.step == 0:
                _shoot(film, view, session)
            if not watch(1 / pace, message):
                return
            _repeat(log, session, step)
            _shoot(film, view, session)
        _compare_ends(log, session, episode)
        if not watch(1.0, f"{message} {_ending(session)}"):
            return
    watch(None, f"The log ends here. {_ending(session)}")


def _shoot(film: Recorder | None, view: View, session: Session) -> None:
    if film:
        film.add(view.frames(session))


def _message(session: Session, is_paused: bool) -> str:
    if session.end:
        return f"R: play another. {_ending(session)}"
    if is_paused:
        return "Paused. An arrow or space goes on." if session.step else "An arrow or space begins."
    return ""


def _ending(session: Session) -> str:
    if not session.end:
        return ""
    how = "The rules ended the episode" if session.end == "terminated" else "The clock ended the episode"
    return f"{how} with a return of {session.total:+.3f}."


def _repeat(log: logs.Log, session: Session, step: logs.Step) -> None:
    if session.end:
        raise log.error(step.line, f"the episode is over before this step; {log.made_by}")
    reward = session.act(step.action)
    if reward != step.reward:
        raise log.error(step.line, f"this step was rewarded with {step.reward}, now with {reward}; {log.made_by}")


def _compare_ends(log: logs.Log, session: Session, episode: logs.LoggedEpisode) -> None:
    if episode.end is None:
        return
    end = episode.end
    seen = logs.End(end.line, session.end or "left", round(session.total, 6), session.step, session.digest())
    for name, logged in vars(end).items():
        if (now := getattr(seen, name)) != logged:
            raise log.error(end.line, f"the episode ended with {name} {logged!r:.40}, now with {now!r}; {log.made_by}")
