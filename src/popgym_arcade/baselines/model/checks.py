"""Checks that the parts of a network share."""

from popgym_arcade.environment import OBS_SIZES


def checked_positive(name: str, value: int) -> int:
    """Return `value`, or raise if it is not an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


def checked_obs_size(obs_size: int) -> int:
    """Return `obs_size`, or raise if it is not an int from 64 to 512."""
    if isinstance(obs_size, bool) or not isinstance(obs_size, int):
        raise TypeError(f"obs_size must be an int from 64 to 512, got {obs_size!r}")
    if obs_size not in OBS_SIZES:
        raise ValueError(f"obs_size must be an int from 64 to 512, got {obs_size}")
    return obs_size
