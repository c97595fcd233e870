"""The results of a person, from logs of play."""

import pathlib
from collections.abc import Sequence
from typing import Any

import popgym_arcade
from popgym_arcade import files
from popgym_arcade.play import log
from popgym_arcade.results import entry

PERSON = "person"


def entries(paths: Sequence[pathlib.Path]) -> list[dict[str, Any]]:
    """Make entries of logs of play: one for each game and view, as of one agent with one seed.

    An episode counts as one of the POMDP if nothing else was seen in it. Those that were left before their end do not count.

    Args:
        paths: logs as `popgym-arcade play --log` writes them, or folders of them, whose names end in .jsonl.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if one is no log, or of other rules than today's; or if no episode was played to its end.
    """
    returns: dict[tuple[str, str], list[float]] = {}
    for file in files.within(paths, "*.jsonl"):
        played = log.read_log(file)
        for episode in played.episodes:
            if episode.end is None or episode.end.end == "left":
                continue
            view = "pomdp" if all(step.view == "POMDP" for step in episode.steps) else "mdp"
            returns.setdefault((played.game, view), []).append(episode.end.total)
    if not returns:
        raise ValueError(f"no episode was played to its end in {', '.join(map(str, paths))}")
    return [
        entry.new(
            env_id=env_id,
            env_version=popgym_arcade.make(env_id)[0].version,
            view=view,
            algorithm=PERSON,
            memory=PERSON,
            steps=0,
            seeds=[{"seed": 0, "returns": found}],
        )
        for (env_id, view), found in sorted(returns.items())
    ]
