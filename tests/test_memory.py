import jax
import numpy as np
import pytest

import popgym_arcade


@pytest.mark.slow
@pytest.mark.parametrize("env_id", popgym_arcade.registered_envs)
@pytest.mark.parametrize("partial_obs", [False, True])
def test_a_step_takes_little_more_memory_than_its_frames(env_id: str, partial_obs: bool) -> None:
    num_envs = 4_096
    env, params = popgym_arcade.make(env_id, partial_obs=partial_obs)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), num_envs))
    _, states = jax.eval_shape(jax.vmap(env.reset), keys)
    actions = jax.ShapeDtypeStruct((num_envs,), np.int32)
    step = jax.jit(jax.vmap(env.step, in_axes=(0, 0, 0, None)))
    sizes = step.lower(keys, states, actions, params).compile().memory_analysis()
    assert sizes is not None
    used = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    assert used <= 3 * num_envs * 128 * 128 * 3
