import functools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popgym_arcade.baselines.returns import lambda_returns

T = 12


def episodes(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ends = rng.choice(3, T, p=[0.7, 0.15, 0.15])
    return rng.normal(size=T), rng.normal(size=T), ends == 1, ends == 2


def by_definition(
    reward: np.ndarray, value: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, gamma: float, td_lambda: float
) -> np.ndarray:
    """The weighted mean of all n-step returns: (1 - lambda) * lambda ** (n - 1) each, and what is left on the longest."""
    returns = np.zeros(T)
    for t in range(T):
        last = next((s for s in range(t, T) if terminated[s] or truncated[s]), T - 1)
        n_step, total = [], 0.0
        for s in range(t, last + 1):
            total += gamma ** (s - t) * reward[s]
            n_step.append(total + gamma ** (s - t + 1) * value[s] * (not terminated[s]))
        weights = (1 - td_lambda) * td_lambda ** np.arange(len(n_step))
        weights[-1] = td_lambda ** (len(n_step) - 1)
        returns[t] = weights @ n_step
    return returns


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1 << 20), gamma=st.floats(0, 1), td_lambda=st.floats(0, 1))
def test_the_definition(seed: int, gamma: float, td_lambda: float) -> None:
    tape = episodes(seed)
    found = lambda_returns(*map(jnp.asarray, tape), gamma=gamma, td_lambda=td_lambda)
    np.testing.assert_allclose(found, by_definition(*tape, gamma, td_lambda), atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_generalised_advantages_are_these_returns_less_the_values(seed: int) -> None:
    reward, _, terminated, truncated = episodes(seed)
    rng = np.random.default_rng(seed + 100)
    value, final = rng.normal(size=T + 1), rng.normal(size=T)
    bootstrap_value = np.where(truncated, final, value[1:])
    advantage, expected = 0.0, np.zeros(T)
    for t in reversed(range(T)):
        error = reward[t] + 0.9 * bootstrap_value[t] * (not terminated[t]) - value[t]
        advantage = error + 0.9 * 0.8 * advantage * (not (terminated[t] or truncated[t]))
        expected[t] = advantage
    found = lambda_returns(*map(jnp.asarray, (reward, bootstrap_value, terminated, truncated)), gamma=0.9, td_lambda=0.8)
    np.testing.assert_allclose(found - value[:-1], expected, atol=1e-5)


def test_nothing_crosses_an_end() -> None:
    reward, value, terminated, truncated = (jnp.asarray(part) for part in episodes(1))
    returns = functools.partial(lambda_returns, terminated=terminated, truncated=truncated, gamma=0.9, td_lambda=0.8)
    for end in np.flatnonzero(terminated | truncated):
        changed, same = returns(reward.at[end + 1 :].add(9), value.at[end + 1 :].add(9)), returns(reward, value)
        np.testing.assert_array_equal(changed[: end + 1], same[: end + 1])
