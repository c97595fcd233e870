"""Films of play: what the player saw, a picture for every step."""

import pathlib

import numpy as np

from popgym_arcade import files, pictures

KINDS = (".gif", ".mp4")


class Recorder:
    """Keeps frames in memory and writes them as one file at the end.

    Raises:
        ModuleNotFoundError: if what encodes the film is missing.
        OSError: if the file cannot be written.
        ValueError: if the file is no GIF or MP4.
    """

    def __init__(self, path: pathlib.Path, pace: float) -> None:
        if path.suffix.lower() not in KINDS:
            raise ValueError(f"a film is a {' or '.join(KINDS)} file, got {path}")
        self._path, self._pace = path, pace
        self._frames: list[np.ndarray] = []
        self._encode([np.zeros((64, 64, 3), np.uint8)] * 2)  # what is missing is missed before the game is played
        files.check_writable(path)

    def add(self, frames: tuple[np.ndarray, ...]) -> None:
        """Add a picture, of one view or of both."""
        self._frames.append(pictures.side_by_side(*frames) if len(frames) == 2 else frames[0])

    def close(self) -> None:
        """Write the film, unless there is nothing to see."""
        if self._frames:
            width = max(frame.shape[1] for frame in self._frames)
            files.write_whole(self._path, self._encode([_centred(frame, width) for frame in self._frames]))

    def _encode(self, frames: list[np.ndarray]) -> bytes:
        if self._path.suffix.lower() == ".gif":
            return pictures.gif(frames, milliseconds=round(1000 / self._pace))
        return pictures.mp4(frames, self._pace)


def _centred(frame: np.ndarray, width: int) -> np.ndarray:
    left = (width - frame.shape[1]) // 2
    return np.pad(frame, ((0, 0), (left, width - frame.shape[1] - left), (0, 0)))
