"""The exported games replay the recorded runs of all ids, in a real browser."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import popgym_arcade
from popgym_arcade.players import reference
from popgym_arcade.web import export
from popgym_arcade.web.emitter import Module
from tests.environments import recorded as runs
from tests.environments.recorded import FLOATS, FOLDER, STEPS

ROUNDING = 2e-6
"""How far the four numbers of the CartPoles may be from XLA's after the whole run. Measured: 1.7e-7, noisy 4e-7."""

REPLAY = """
async ([game, players, run]) => {
  const { reset, step, drawMdp, drawPomdp } = await load(game);
  const { expert } = await load(players);
  const words = (each) => Uint32Array.from(each);
  const states = [reset(words(run.start))];
  const steps = run.keys.map((key, n) => {
    const next = step(words(key), states[n], run.actions[n]);
    states.push(next.state);
    return { reward: next.reward, terminated: next.terminated, truncated: next.truncated };
  });
  const recorded = run.states.map(enter);
  const experts = run.keysOfExperts.map((key, n) => expert(words(key), recorded[n]));
  const hash = async (frame) => [...new Uint8Array(await crypto.subtle.digest("SHA-256", frame))]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("").slice(0, 16);
  const frames = [];
  for (const draw of [drawMdp, drawPomdp]) frames.push(await Promise.all(recorded.map((state) => hash(draw(state)))));
  return { states: states.map(spell), steps, experts, frames };
}
"""


@pytest.fixture(scope="module")
def keys() -> dict[str, Any]:
    """The keys of recorded runs, as words."""
    start, steps, _ = map(np.asarray, runs.keys_and_actions())
    return {"start": start.tolist(), "keys": steps[:, 0].tolist(), "keysOfExperts": steps[:, 1].tolist()}


def fields_of(recorded: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix("state."): values for name, values in recorded.items() if name.startswith("state.")}


def spelt_states(recorded: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """The states of a run, for `enter`."""
    fields = fields_of(recorded)
    return [
        {
            name: {"dtype": values.dtype.name, "value": values[n].ravel().tolist() if values[n].shape else values[n].item()}
            for name, values in fields.items()
        }
        for n in range(STEPS + 1)
    ]


@pytest.mark.parametrize("env_id", popgym_arcade.registered_envs)
def test_recorded_runs(env_id: str, keys: dict[str, Any], page: Any, text_of: Callable[[Module], str]) -> None:
    with np.load(FOLDER / f"{env_id}.npz") as file:
        recorded = dict(file)
    env, _ = popgym_arcade.make(env_id)
    run = {**keys, "states": spelt_states(recorded), "actions": recorded["actions"].tolist()}
    texts = [text_of(export.game(env)), text_of(export.players(env)[0])]
    replayed = page.evaluate(REPLAY, [*texts, run])
    for name, values in fields_of(recorded).items():
        found = np.array([state[name] for state in replayed["states"]], float).reshape(values.shape)
        np.testing.assert_allclose(found, values.astype(float), rtol=0, atol=ROUNDING if name in FLOATS else 0, err_msg=name)
    for name in ("terminated", "truncated"):
        assert [step[name] for step in replayed["steps"]] == recorded[name].tolist()
    rewards = np.array([step["reward"] for step in replayed["steps"]], np.float32)
    assert rewards.tobytes() == recorded["rewards"].tobytes()
    assert np.array_equal(replayed["frames"], recorded["frames"])
    is_experts = np.arange(STEPS) % 4 != 3  # the others are random
    assert np.array_equal(np.array(replayed["experts"])[is_experts], recorded["actions"][is_experts])


REMEMBER = """
async ([text, keys, states]) => {
  const module = await load(text);
  let memory = module.begin();
  return states.map((state, n) => {
    const looked = module.act(Uint32Array.from(keys[n]), memory, enter(state));
    memory = looked.memory;
    return looked.action;
  });
}
"""
REMEMBERING = [env_id for env_id in popgym_arcade.registered_envs if not env_id.startswith(("BattleShip", "MineSweeper"))]
QUICK = ("NavigatorEasy", "NoisyCartPoleEasy")


@pytest.mark.parametrize(
    "env_id", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in REMEMBERING]
)
def test_memory_players(env_id: str, keys: dict[str, Any], page: Any, text_of: Callable[[Module], str]) -> None:
    """They do what they do in JAX, on the way of the recorded run."""
    with np.load(FOLDER / f"{env_id}.npz") as file:
        recorded = dict(file)
    env, params = popgym_arcade.make(env_id, partial_obs=True)
    player = reference.memory_player(env, params)
    states = runs.states_of(env, recorded)

    @jax.jit
    def run(keys: Any) -> Any:
        def act(memory: Any, inputs: Any) -> Any:
            key, state = inputs
            return player.act(key, memory, env.glimpse(state))

        return jax.lax.scan(act, player.memory, (keys, jax.tree.map(lambda leaf: leaf[:-1], states)))[1]

    known = np.asarray(run(np.array(keys["keys"], np.uint32)))
    module, found = export.players(env)
    assert found == ["expert", "memory"]
    actions = page.evaluate(REMEMBER, [text_of(module), keys["keys"], spelt_states(recorded)[:-1]])
    assert actions == known.tolist()


def test_players_that_call_python_are_left_out() -> None:
    env, _ = popgym_arcade.make("BattleShipEasy")
    assert export.players(env)[1] == ["expert"]
