from collections.abc import Iterator

import gymnasium
import pytest

import popgym_arcade
from popgym_arcade import registration
from popgym_arcade.adapters.gymnasium import register_envs
from tests.tiny import Tiny


@pytest.fixture(scope="module")
def tiny_is_registered() -> Iterator[None]:
    """Register a game that compiles quickly; an action of 4 ends it, and the clock does after ten steps."""
    popgym_arcade.register("Tiny", Tiny)
    register_envs()
    yield
    del registration._constructors["Tiny"], gymnasium.registry["popgym_arcade/Tiny-v0"]
