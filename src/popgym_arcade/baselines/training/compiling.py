"""How much XLA optimises programs for a CPU, which takes most of their compile time; other devices keep their defaults."""

import jax


def once() -> dict[str, int] | None:
    """Return the options of the compiler for a program that runs once: none of its optimisations pays."""
    return _level(0)


def often() -> dict[str, int] | None:
    """Return the options for a program of products and copies, which more than the first level hardly makes faster."""
    return _level(1)


def _level(level: int) -> dict[str, int] | None:
    return {"xla_backend_optimization_level": level} if jax.default_backend() == "cpu" else None
