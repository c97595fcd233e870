from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from popgym_arcade.environments.cartpole import ANGULAR_VELOCITY, CartPole
from popgym_arcade.environments.noisy_cartpole import NoisyCartPole
from popgym_arcade.testing import Decoder, Near, Resampler
from tests.environments import contract, recorded
from tests.environments.test_cartpole import read_stage, reader


def decoder(env: NoisyCartPole) -> Decoder:
    def decode(frame: np.ndarray) -> dict[str, Any]:
        values, within = read_stage(env.layout, frame)
        return {"score": env.layout.screen.score_readout.read(frame), "physics": Near(values, within)}

    return decode


def resampler(env: NoisyCartPole) -> Resampler:
    def resample(key: jax.Array, state: Any) -> Any:
        physics, sensed = jax.random.uniform(key, (2, 4), minval=-0.2, maxval=0.2)
        sensed = sensed.at[ANGULAR_VELOCITY].set(state.sensed[ANGULAR_VELOCITY])
        return state.replace(physics=physics, sensed=jnp.where(state.time == 0, state.sensed, sensed))

    return resample


@pytest.mark.parametrize("difficulty", NoisyCartPole.difficulties)
def test_contract(difficulty: str) -> None:
    contract.check(NoisyCartPole(difficulty=difficulty), decoder, resampler)


@pytest.mark.parametrize("difficulty", NoisyCartPole.difficulties)
def test_recorded_run(difficulty: str) -> None:
    recorded.check(NoisyCartPole(difficulty=difficulty))


@pytest.mark.parametrize("difficulty", NoisyCartPole.difficulties)
def test_glimpses(difficulty: str) -> None:
    contract.check_glimpses(NoisyCartPole(difficulty=difficulty), reader)


@pytest.mark.parametrize(("difficulty", "sigma"), [("Easy", 0.1), ("Medium", 0.2), ("Hard", 0.3)])
def test_noise(difficulty: str, sigma: float) -> None:
    """Gaussian, independent over steps and numbers, of the stated size; drawn anew at each step."""
    noise = []
    for step in contract.rollout(NoisyCartPole(difficulty=difficulty), steps=100):
        noise.append(step.after.sensed - step.after.physics)
        assert step.truncated == (not step.terminated and step.before.time + 1 == 300)
    noise = np.array(noise) / sigma
    for number in noise.T:
        assert scipy.stats.kstest(number, "norm").pvalue > 1e-3
    assert np.max(np.abs(np.corrcoef(noise.T) - np.eye(4))) < 0.1
    assert np.max(np.abs(np.mean(noise[1:] * noise[:-1], 0))) < 0.1
    start = contract.starts(NoisyCartPole(difficulty=difficulty), 5_000)
    assert np.std(start.sensed - start.physics) == pytest.approx(sigma, rel=0.05)


def test_dynamics_are_those_of_cartpole() -> None:
    env, plain = NoisyCartPole(), CartPole()
    _, state = env.reset(jax.random.key(0))
    _, plain_state = plain.reset(jax.random.key(0))
    plain_state = plain_state.replace(physics=state.physics)
    for time in range(40):
        action = (time // 2) % 2 + 2
        _, state, reward, done, _ = env.step_env(jax.random.key(time), state, action)
        _, plain_state, plain_reward, plain_done, _ = plain.step_env(jax.random.key(time), plain_state, action)
        assert state.physics == pytest.approx(np.asarray(plain_state.physics), abs=1e-5)
        assert (reward, done) == (plain_reward, plain_done)


def test_the_mdp_is_free_of_noise() -> None:
    env = NoisyCartPole()
    _, state = env.reset(jax.random.key(0))
    other = state.replace(sensed=state.sensed + 1)
    assert np.array_equal(env.get_obs(state), env.get_obs(other))
    assert not np.array_equal(env.twin.get_obs(state), env.twin.get_obs(other))
