"""What is exported of a game: a module that plays it, in both views."""

import dataclasses
from typing import Any

import jax
import numpy as np

from popgym_arcade.environment import Environment
from popgym_arcade.web.emitter import Module

_KEY = np.zeros(2, np.uint32)
_STEP = """
// env.step: with the next episode's first state where this one ends.
export function step(key, state, action) {
  const next = stepEnv(key, state, action);
  const keys = split(key[0], key[1]);
  return { ...next, finalState: next.state, state: next.terminated || next.truncated ? reset(keys.slice(2)) : next.state };
}
"""


def game(env: Environment[Any, Any]) -> Module:
    """Export a game: `reset`, `step`, `stepEnv`, `drawMdp`, `drawPomdp`, with its default params."""
    module = Module()
    params = env.default_params
    state = jax.eval_shape(lambda: env.initial_state(_KEY, params))

    def step_env(key: Any, state: Any, action: Any) -> Any:
        _, state, reward, _, info = env.step_env(key, state, action, params)
        return {"state": state, "reward": reward, "terminated": info["terminated"], "truncated": info["truncated"]}

    module.add("reset", lambda key: env.reset(key, params)[1], _KEY, doc="env.reset: the first state of an episode.")
    module.add("stepEnv", step_env, _KEY, state, np.int32(0), doc="env.step_env: without automatic reset.")
    module.text(_STEP)
    for view, partial_obs in (("drawMdp", False), ("drawPomdp", True)):
        seen = dataclasses.replace(env, partial_obs=partial_obs)
        module.add(view, lambda state, seen=seen: seen.get_obs(state), state, doc="env.get_obs: RGB, row by row.")
    return module
