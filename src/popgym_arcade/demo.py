"""The demo: random play of all games in big batches, a sheet of them all, and an animation of the twins."""

import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from popgym_arcade import files, pictures, room, speed, terminal
from popgym_arcade.environment import view_name

_FRAMES = 48
_OBS_SIZE = 128


def run(games: Sequence[str], filmed: Sequence[str], num_envs: int, seconds: float, folder: pathlib.Path) -> int:
    """Play, print a table of frames per second, and save `sheet.png` and `twins.gif`, of the games filmed, in `folder`.

    Raises:
        MemoryError: if the frames do not fit into memory.
        ModuleNotFoundError: if Pillow is missing.
        OSError: if the folder cannot be written.
    """
    pictures.pillow()
    sheet, animation = folder / "sheet.png", folder / "twins.gif"
    for path in (sheet, animation):
        files.check_folder(path)
    room.check_frames(num_envs, _OBS_SIZE)
    start = time.perf_counter()
    rows: list[list[str]] = []
    films: dict[str, list[np.ndarray]] = {}
    with terminal.Progress() as progress:
        for number, game in enumerate(games):
            rates, views = [], []
            for partial_obs in (False, True):
                view = view_name(partial_obs)
                progress(f"{2 * number + partial_obs + 1}/{2 * len(games)}  {game}, {view}: compiling and playing")
                frames: list[np.ndarray] = []

                def watch(obs: Any, frames: list[np.ndarray] = frames) -> None:
                    if len(frames) < _FRAMES:
                        frames.append(np.array(obs[0]))

                result = speed.measure(
                    game, partial_obs, num_envs=num_envs, obs_size=_OBS_SIZE, seconds=seconds, batches=_FRAMES, watch=watch
                )
                rates.append(f"{result['frames_per_second']:,.0f}")
                views.append(frames)
            rows.append([game, *rates])
            # Both views were given the same keys and actions, so they show the same game.
            films[game] = [pictures.side_by_side(mdp, pomdp) for mdp, pomdp in zip(*views, strict=True)]
    print(terminal.table([f"frames/s, {num_envs} environments, {_OBS_SIZE} px", "MDP", "POMDP"], rows))

    files.write_whole(sheet, pictures.png(pictures.wall([frames[_FRAMES // 2] for frames in films.values()])))
    walls = [pictures.wall(frames) for frames in zip(*(films[game] for game in filmed), strict=True)]
    files.write_whole(animation, pictures.gif(walls, milliseconds=150))
    print(f"wrote {sheet} and {animation} (MDP on the left, POMDP on the right of each pair)")
    print(f"{time.perf_counter() - start:.0f} s in all")
    return 0
