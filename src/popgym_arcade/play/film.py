"""Films of play: what the player saw, a picture for every step."""

import pathlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from popgym_arcade import files, pictures

KINDS = (".gif", ".mp4")


class Recorder:
    """Keeps what was seen, compressed, and writes it as one file at the end.

    Raises:
        ModuleNotFoundError: if what encodes the film is missing.
        OSError: if the file exists or cannot be written.
        ValueError: if the file is no GIF or MP4.
    """

    def __init__(self, path: pathlib.Path, pace: float) -> None:
        if path.suffix.lower() not in KINDS:
            raise ValueError(f"a film is a {' or '.join(KINDS)} file, got {path}")
        self._path, self._pace = path, pace
        self._frames = _Frames()
        self._encode([np.zeros((64, 64, 3), np.uint8)] * 2)  # what is missing is missed before the game is played
        files.check_writable(path)

    def add(self, frames: tuple[np.ndarray, ...]) -> None:
        """Add a picture, of one view or of both."""
        self._frames.add(pictures.side_by_side(*frames) if len(frames) == 2 else frames[0])

    def close(self) -> None:
        """Write the film, unless there is nothing to see."""
        if len(self._frames) > 0:
            files.write_whole(self._path, self._encode(self._frames))

    def _encode(self, frames: Sequence[np.ndarray]) -> bytes:
        if self._path.suffix.lower() == ".gif":
            return pictures.gif(frames, milliseconds=round(1000 / self._pace))
        return pictures.mp4(frames, self._pace)


class _Frames(Sequence[np.ndarray]):
    """Frames that take little memory: of one height, and brought to the width of the widest."""

    def __init__(self) -> None:
        self._compressed: list[tuple[bytes, tuple[int, ...]]] = []
        self._width = 0

    def add(self, frame: np.ndarray) -> None:
        self._compressed.append((zlib.compress(frame.tobytes(), 1), frame.shape))
        self._width = max(self._width, frame.shape[1])

    def __len__(self) -> int:
        return len(self._compressed)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        content, shape = self._compressed[index]
        frame = np.frombuffer(zlib.decompress(content), np.uint8).reshape(shape)
        missing = self._width - shape[1]
        return np.pad(frame, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)))
