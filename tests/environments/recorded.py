"""Recorded runs of every game: a change of behaviour is seen here, and has to be meant.

To record anew what was meant to change: `python -m tests.environments.recorded [ID ...]`.
"""

import dataclasses
import hashlib
import pathlib
import sys
from typing import Any

import jax
import numpy as np
import pytest

import popgym_arcade
from popgym_arcade import turns
from popgym_arcade.environment import Environment
from tests.environments import contract

FOLDER = pathlib.Path(__file__).parent / "golden"
STEPS = 40
FLOATS = ("physics", "sensed")  # of CartPole; processors and compilers round them differently


def check(env: Environment[Any, Any]) -> None:
    """Play a recorded run again and compare all its states, rewards, ends and frames."""
    with np.load(FOLDER / f"{env.name}.npz") as file:
        recorded = dict(file)
    assert np.array_equal(draw(env, recorded), recorded.pop("frames"))
    now = play(env)
    assert recorded.keys() == now.keys()
    for name, values in recorded.items():
        assert now[name].dtype == values.dtype
        if name.removeprefix("state.") in FLOATS:
            assert now[name] == pytest.approx(values, abs=1e-4)
        elif name == "rewards":
            assert now[name] == pytest.approx(values, abs=1e-6)
        else:
            assert np.array_equal(now[name], values), name


def play(env: Environment[Any, Any]) -> dict[str, np.ndarray]:
    """Play the expert's actions and random ones in turn, with auto-reset."""
    env, params = contract.sized(env), env.default_params
    key_start, keys, random = map(np.asarray, keys_and_actions())

    @jax.jit
    @jax.vmap
    def act(key: Any, state: Any) -> Any:
        return env.expert_action(jax.random.wrap_key_data(key), state, params)

    def batch(key: np.ndarray) -> np.ndarray:
        return np.repeat(key[None], turns.ENVS, 0)  # one episode, in all environments of a batch

    state = turns.start(env, batch(key_start), params)[1]
    states, steps = [state], []
    for number, (key_step, key_expert) in enumerate(keys):
        action = np.asarray(act(batch(key_expert), state))
        if number % 4 == 3:
            action = np.full_like(action, random[number])
        outcome = turns.take_turn(env, batch(key_step), state, action, params)
        state = outcome.state
        states.append(state)
        steps.append((action, outcome.reward, outcome.info["terminated"], outcome.info["truncated"]))
    names = "actions", "rewards", "terminated", "truncated"
    run = {name: np.stack(leaves)[:, 0] for name, leaves in zip(names, zip(*steps, strict=True), strict=True)}
    fields = jax.tree.map(lambda leaf: leaf[:, 0], turns.stack(states))
    return run | {f"state.{name}": leaf for name, leaf in vars(fields).items()}


@jax.jit
def keys_and_actions() -> tuple[jax.Array, jax.Array, jax.Array]:
    """The key of the start, those of each step and its expert, and random actions."""
    key, key_start = jax.random.split(jax.random.key(2025))
    steps, actions, experts = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(jax.random.split(key, STEPS))
    data = jax.random.key_data
    random = jax.vmap(lambda key: jax.random.randint(key, (), 0, 5))(actions)
    return data(key_start), data(jax.numpy.stack([steps, experts], 1)), random


def draw(env: Environment[Any, Any], fields: dict[str, np.ndarray]) -> np.ndarray:
    """Hash the frames of recorded states at 128 px: str[2, states], MDP and POMDP."""
    views = [dataclasses.replace(env, obs_size=128, partial_obs=partial_obs) for partial_obs in (False, True)]
    frames = [turns.draw(view, states_of(env, fields)) for view in views]
    return np.array([[hashlib.sha256(frame.tobytes()).hexdigest()[:16] for frame in view] for view in frames])


def states_of(env: Environment[Any, Any], fields: dict[str, np.ndarray]) -> Any:
    """The states of a recorded run, with the leading axis STEPS + 1."""
    names = [name for name in fields if name.startswith("state.")]
    return env.state_like.replace(**{name.removeprefix("state."): fields[name] for name in names})


def states(env: Environment[Any, Any]) -> Any:
    """The states of the environment's recorded run, with the leading axis STEPS + 1."""
    with np.load(FOLDER / f"{env.name}.npz") as file:
        return states_of(env, dict(file))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for env_id in sys.argv[1:] or popgym_arcade.registered_envs:
        env, _ = popgym_arcade.make(env_id)
        run: dict[str, Any] = play(env)
        np.savez_compressed(FOLDER / f"{env_id}.npz", **run, frames=draw(env, run))
        print(env_id, "recorded")
