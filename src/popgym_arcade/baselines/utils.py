"""The functions that look into a memory, by the import path of the paper's package; see `popgym_arcade.introspection`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from popgym_arcade.introspection.figures import vis_fn
    from popgym_arcade.introspection.saliency import get_saliency_maps

__all__ = ["get_saliency_maps", "vis_fn"]

_ROOMS = {"get_saliency_maps": "saliency", "vis_fn": "figures"}


def __getattr__(name: str) -> Any:
    # Late: introspection stands on the baselines, not the other way round.
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"popgym_arcade.introspection.{_ROOMS[name]}"), name)
