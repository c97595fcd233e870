"""Agents with and without memory that learn to play the games: the extra `baselines`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from popgym_arcade.baselines.training.run import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Load `load` when it is asked for: it needs what a baseline's network alone does not."""
    if name == "load":
        from popgym_arcade.baselines.training.run import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
