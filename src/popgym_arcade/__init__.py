"""POPGym Arcade: pixel games that test memory, on accelerators. Every game is an MDP and its partially observable twin."""

from popgym_arcade import experts, registration, testing, wrappers
from popgym_arcade.environment import Environment, Params, State
from popgym_arcade.registration import make, register

__version__ = "0.1.0"

__all__ = [
    "Environment",
    "Params",
    "State",
    "__version__",
    "experts",
    "make",
    "register",
    "registered_envs",
    "testing",
    "wrappers",
]

registered_envs: tuple[str, ...]


def __getattr__(name: str) -> tuple[str, ...]:
    # Computed at each look, so that it knows the games registered since.
    if name == "registered_envs":
        return registration.registered()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
