"""The memory player of CartPole and NoisyCartPole: an extended Kalman filter in front of the expert.

Source: R. E. Kalman, "A New Approach to Linear Filtering and Prediction Problems", 1960.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade.environments import cartpole
from popgym_arcade.environments.cartpole import PIXEL, ROUNDING, START_RANGES, CartPole, CartPoleGlimpse
from popgym_arcade.environments.noisy_cartpole import NoisyCartPole
from popgym_arcade.players.player import Player

_HIDDEN = np.float32(1e6)  # the variance of a number that a frame does not show
_SLACK = np.float32(1e-7)  # added to variances at each step: the filter is linear, the pole is not


def balancing(env: CartPole | NoisyCartPole, params: Any) -> Player:
    """Estimate the four numbers from all frames and pushes."""
    noise = env.sigma if isinstance(env, NoisyCartPole) and env.partial_obs else 0.0
    grain = ROUNDING if isinstance(env, CartPole) and env.partial_obs else PIXEL[cartpole.ANGULAR_VELOCITY]
    error_of_all = (noise**2 + PIXEL**2 / 12).astype(np.float32)
    error_of_spin = np.array([_HIDDEN, _HIDDEN, _HIDDEN, noise**2 + grain**2 / 12], np.float32)

    def act(key: jax.Array, memory: Any, seen: CartPoleGlimpse) -> tuple[Any, jax.Array]:
        mean, covariance, action, started = memory

        def pushed(physics: jax.Array) -> jax.Array:
            return cartpole.push(physics, action, params)

        slope = jax.jacfwd(pushed)(mean)
        mean = jnp.where(started, pushed(mean), mean)
        covariance = jnp.where(started, slope @ covariance @ slope.T + _SLACK * np.eye(4, dtype=np.float32), covariance)
        error = jnp.where(seen.whole, error_of_all, error_of_spin)
        for number in range(4):  # one reading after the other, so that nothing is inverted
            gain = covariance[:, number] / (covariance[number, number] + error[number])
            mean += gain * (seen.physics[number] - mean[number])
            covariance -= jnp.outer(gain, covariance[number])
        action = cartpole.balance(mean)
        return (mean, covariance, action, jnp.ones((), bool)), action

    spread = jnp.diag(jnp.asarray(START_RANGES**2 / 3))
    return Player((jnp.zeros(4, jnp.float32), spread, jnp.zeros((), jnp.int32), jnp.zeros((), bool)), act)
