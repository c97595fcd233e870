"""The chooser: which game, how difficult, in which view, with a look at its first frame."""

import dataclasses

from popgym_arcade import registration
from popgym_arcade.play.display import Command, Display, Page
from popgym_arcade.play.session import Session

HELP = ("up, down: game   left, right: difficulty   T: view", "Enter or space: play   Esc: quit")
_REST = 0.2  # seconds after which the game under the bar is compiled, and between looks at whether it is
_VIEWS = ("MDP", "POMDP")


@dataclasses.dataclass
class Chooser:
    """Remembers the choice from one visit to the next.

    Args:
        seed: that of the first episode of each game.
        obs_size: size of the frames.
        partial_obs: the view to begin with.
    """

    seed: int
    obs_size: int
    partial_obs: bool
    row: int = 0
    level: int = 0
    _sessions: dict[str, Session] = dataclasses.field(default_factory=dict)

    def choose(self, display: Display) -> Session | None:
        """Let the player choose; None if he would rather leave. The session is at the start of an episode."""
        games = registration.by_game()
        names = list(games)
        while True:
            levels = games[names[self.row]]
            level = min(self.level, len(levels) - 1)
            game = levels[level]
            session = self._sessions.get(game)
            is_ready = session is not None and session.is_ready(self.partial_obs)
            display.show(self._page(names, game, session if is_ready else None))
            key = display.poll(None if is_ready else _REST)
            if key is None and session is None:
                self._sessions[game] = Session(game, self.seed, self.obs_size, self.partial_obs)
            match key.command if key and key.is_down else None:
                case Command.UP:
                    self.row = (self.row - 1) % len(names)
                case Command.DOWN:
                    self.row = (self.row + 1) % len(names)
                case Command.LEFT:
                    self.level = (level - 1) % len(levels)
                case Command.RIGHT:
                    self.level = (level + 1) % len(levels)
                case Command.SWITCH:
                    self.partial_obs = not self.partial_obs
                case Command.CHOOSE | Command.FIRE:
                    if session is None:
                        session = self._sessions[game] = Session(game, self.seed, self.obs_size, self.partial_obs)
                    return session
                case Command.QUIT:
                    return None

    def close(self) -> None:
        """Stop compiling."""
        for session in self._sessions.values():
            session.close()

    def _page(self, names: list[str], game: str, session: Session | None) -> Page:
        level, view = game.removeprefix(names[self.row]), _VIEWS[self.partial_obs]
        goal = (session.env if session else registration.make(game)[0]).goal
        return Page(
            title="POPGym Arcade",
            menu=tuple(names),
            selected=self.row,
            frames=(session.frame(self.partial_obs),) if session else (),
            captions=(f"{level} {view}".strip(),),
            lines=(goal, "" if session else "compiling ...", *HELP),
        )
