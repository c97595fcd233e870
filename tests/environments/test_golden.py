"""Recorded runs of every game: a change of behaviour is seen here, and has to be meant.

To record anew what was meant to change: `python -m tests.environments.test_golden [ID ...]`.
"""

import hashlib
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import popgym_arcade

FOLDER = pathlib.Path(__file__).parent / "golden"
STEPS = 40
FLOATS = ("physics", "sensed")  # of CartPole; processors and compilers round them differently


def play(env_id: str) -> dict[str, np.ndarray]:
    """Play the expert's actions and random ones in turn, with auto-reset."""
    env, params = popgym_arcade.make(env_id)

    @jax.jit
    def run(key: jax.Array) -> Any:
        key, key_start = jax.random.split(key)
        _, start = env.reset(key_start, params)

        def body(state: Any, inputs: Any) -> Any:
            number, key = inputs
            key_step, key_action, key_expert = jax.random.split(key, 3)
            random = jax.random.randint(key_action, (), 0, 5)
            action = jnp.where(number % 4 == 3, random, env.expert_action(key_expert, state, params))
            _, state, reward, _, info = env.step(key_step, state, action, params)
            return state, (action, state, reward, info["terminated"], info["truncated"])

        return start, jax.lax.scan(body, start, (jnp.arange(STEPS), jax.random.split(key, STEPS)))[1]

    start, (actions, states, rewards, terminated, truncated) = jax.tree.map(np.asarray, run(jax.random.key(2025)))
    states = jax.tree.map(lambda first, rest: np.concatenate([first[None], rest]), start, states)
    fields = {f"state.{name}": leaf for name, leaf in vars(states).items()}
    return {
        "actions": actions,
        "rewards": rewards,
        "terminated": terminated,
        "truncated": truncated,
        **fields,
    }


def draw(env_id: str, fields: dict[str, np.ndarray]) -> np.ndarray:
    """Hash the frames of recorded states: str[2, states], MDP and POMDP."""
    env, _ = popgym_arcade.make(env_id)
    _, state = env.reset(jax.random.key(0))
    names = [name for name in fields if name.startswith("state.")]
    states = state.replace(**{name.removeprefix("state."): fields[name] for name in names})
    frames = [np.asarray(jax.jit(jax.vmap(view.get_obs))(states)) for view in (env, env.twin)]
    return np.array([[hashlib.sha256(frame.tobytes()).hexdigest()[:16] for frame in view] for view in frames])


@pytest.mark.parametrize("env_id", popgym_arcade.registered_envs)
def test_golden(env_id: str) -> None:
    with np.load(FOLDER / f"{env_id}.npz") as file:
        recorded = dict(file)
    assert np.array_equal(draw(env_id, recorded), recorded.pop("frames"))
    now = play(env_id)
    assert recorded.keys() == now.keys()
    for name, values in recorded.items():
        assert now[name].dtype == values.dtype
        if name.removeprefix("state.") in FLOATS:
            assert now[name] == pytest.approx(values, abs=1e-4)
        elif name == "rewards":
            assert now[name] == pytest.approx(values, abs=1e-6)
        else:
            assert np.array_equal(now[name], values), name


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or popgym_arcade.registered_envs:
        run: dict[str, Any] = play(name)
        np.savez_compressed(FOLDER / f"{name}.npz", **run, frames=draw(name, run))
        print(name, "recorded")
