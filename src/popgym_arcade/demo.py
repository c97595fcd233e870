"""The demo: random play of all games in big batches, a sheet of them all, and an animation of the twins."""

import io
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from popgym_arcade import files, speed, terminal

_FRAMES = 48
_OBS_SIZE = 128
_GAP = 4
_SPACE = np.full((_OBS_SIZE, _GAP, 3), 255, np.uint8)


def run(games: Sequence[str], filmed: Sequence[str], num_envs: int, seconds: float, folder: pathlib.Path) -> int:
    """Play, print a table of frames per second, and save `sheet.png` and `twins.gif`, of the games filmed, in `folder`.

    Raises:
        ModuleNotFoundError: if Pillow is missing.
        OSError: if the folder cannot be written.
    """
    _pillow()
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    rows: list[list[str]] = []
    films: dict[str, list[np.ndarray]] = {}
    for number, game in enumerate(games):
        rates, views = [], []
        for partial_obs in (False, True):
            view = "POMDP" if partial_obs else "MDP"
            terminal.show_progress(f"{2 * number + partial_obs + 1}/{2 * len(games)}  {game}, {view}: compiling and playing")
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
        films[game] = [np.concatenate([mdp, _SPACE, pomdp], axis=1) for mdp, pomdp in zip(*views, strict=True)]
    terminal.show_progress("")
    print(terminal.table([f"frames/s, {num_envs} environments, {_OBS_SIZE} px", "MDP", "POMDP"], rows))

    sheet, animation = folder / "sheet.png", folder / "twins.gif"
    terminal.show_progress("drawing the sheet and the animation")
    files.write_whole(sheet, png(wall([frames[_FRAMES // 2] for frames in films.values()])))
    walls = [wall(frames) for frames in zip(*(films[game] for game in filmed), strict=True)]
    files.write_whole(animation, gif(walls, milliseconds=150))
    terminal.show_progress("")
    print(f"wrote {sheet} and {animation} (MDP on the left, POMDP on the right of each pair)")
    print(f"{time.perf_counter() - start:.0f} s in all")
    return 0


def wall(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Hang frames of one size in rows of three, with white between them."""
    columns = min(3, len(frames))
    height, width, _ = frames[0].shape
    rows = -(-len(frames) // columns)
    margin = 3 * _GAP
    image = np.full((rows * (height + margin) + margin, columns * (width + margin) + margin, 3), 255, np.uint8)
    for number, frame in enumerate(frames):
        row, column = divmod(number, columns)
        top, left = margin + row * (height + margin), margin + column * (width + margin)
        image[top : top + height, left : left + width] = frame
    return image


def png(image: np.ndarray) -> bytes:
    """Encode an image, uint8[height, width, 3]."""
    buffer = io.BytesIO()
    _pillow().fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def gif(frames: Sequence[np.ndarray], milliseconds: int) -> bytes:
    """Encode an animation that repeats, of images uint8[height, width, 3]."""
    image = _pillow()
    # One palette for all frames: colours that flicker from frame to frame would be ours, not the game's.
    palette = image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 4)])).quantize(255)
    pictures = [image.fromarray(frame).quantize(palette=palette, dither=image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0, optimize=False)
    return buffer.getvalue()


def _pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise ModuleNotFoundError("pictures need Pillow: pip install 'popgym-arcade[demo]'") from None
    return Image
