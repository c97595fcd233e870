"""Random play, for tests that compare environments in different clothes."""

from typing import Any

import jax

STEPS = 24
ENVS = 4


def roll(env: Any, params: Any) -> Any:
    """Reset, and play on randomly: (reset, steps), every leaf of the steps with leading axes (STEPS, ENVS)."""
    reset, step = jax.vmap(env.reset, in_axes=(0, None)), jax.vmap(env.step, in_axes=(0, 0, 0, None))

    def body(state: Any, key: jax.Array) -> Any:
        keys = jax.random.split(key, ENVS)
        result = step(keys, state, jax.random.randint(key, (ENVS,), 0, 5), params)
        return result[1], result

    @jax.jit
    def run(key: jax.Array) -> Any:
        start = reset(jax.random.split(key, ENVS), params)
        return start, jax.lax.scan(body, start[1], jax.random.split(jax.random.key(1), STEPS))[1]

    return run(jax.random.key(0))
