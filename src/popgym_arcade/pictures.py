"""Pictures made of frames: rows and walls of them, PNG, GIF and MP4."""

import fractions
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

_GAP = 4
_FILM_HEIGHT = 512  # films are enlarged to about so many pixels
_COLOURS = 255  # of a GIF; one more says that a pixel stays as it was


def side_by_side(mdp: np.ndarray, pomdp: np.ndarray) -> np.ndarray:
    """Put the frames of twins, uint8[size, size, 3], next to each other, with a little white between them."""
    return np.concatenate([mdp, np.full((len(mdp), _GAP, 3), 255, np.uint8), pomdp], axis=1)


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
    pillow().fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def gif(frames: Sequence[np.ndarray], milliseconds: int) -> bytes:
    """Encode an animation that repeats, of images uint8[height, width, 3]; exactly, if they have 255 colours at most."""
    pictures = _with_one_palette(frames)
    buffer = io.BytesIO()
    next(pictures).save(buffer, "GIF", save_all=True, append_images=pictures, duration=milliseconds, loop=0, optimize=True)
    return buffer.getvalue()


def _with_one_palette(frames: Sequence[np.ndarray]) -> Iterator[Any]:
    # One palette for all frames: colours that flicker from frame to frame would be ours, not the game's.
    image = pillow()
    weights = np.array([1 << 16, 1 << 8, 1], np.uint32)
    numbers = np.zeros(1 << 24, np.uint8)
    for frame in frames:
        numbers[frame @ weights] = 1
    colours = np.flatnonzero(numbers)
    if len(colours) > _COLOURS:
        some = [*frames[:: max(1, len(frames) // 4)], frames[-1]]
        palette = image.fromarray(np.concatenate(some)).quantize(_COLOURS)
        for frame in frames:
            yield image.fromarray(frame).quantize(palette=palette, dither=image.Dither.NONE)
        return
    numbers[colours] = np.arange(len(colours))
    for frame in frames:
        picture = image.fromarray(numbers[frame @ weights])
        picture.putpalette(np.stack([colours >> 16, colours >> 8, colours], 1).astype(np.uint8).tobytes())
        yield picture


def mp4(frames: Sequence[np.ndarray], frames_per_second: float) -> bytes:
    """Encode a film, H.264 in MP4, of images uint8[height, width, 3] of one size.

    Small ones are enlarged, as the codec blurs colours; an odd row or column is doubled, as it wants even sizes.

    Raises:
        ModuleNotFoundError: if PyAV is missing.
    """
    try:
        import av
    except ModuleNotFoundError:
        raise ModuleNotFoundError("films need PyAV: pip install 'popgym-arcade[human]'") from None
    times = max(1, _FILM_HEIGHT // len(frames[0]))
    height, width = (-(-length * times // 2) * 2 for length in frames[0].shape[:2])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        rate = fractions.Fraction(frames_per_second).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "15"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            large = frame.repeat(times, 0).repeat(times, 1)
            missing = height - large.shape[0], width - large.shape[1]
            large = np.pad(large, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(large, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def pillow() -> Any:
    """Return Pillow's module `Image`.

    Raises:
        ModuleNotFoundError: if Pillow is missing; it names the extra to install.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise ModuleNotFoundError("pictures need Pillow: pip install 'popgym-arcade[demo]'") from None
    return Image
