"""Lambda returns, with the two ends of an episode, termination and truncation, kept apart."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Shaped


def lambda_returns(
    reward: Float32[Array, "T *N"],
    bootstrap_value: Float32[Array, "T *N"],
    terminated: Bool[Array, "T *N"],
    truncated: Bool[Array, "T *N"],
    *,
    gamma: float,
    td_lambda: float,
) -> Float32[Array, "T *N"]:
    """Return G_t = r_t + gamma * (1 - terminated_t) * ((1 - lambda) * v_{t+1} + lambda * G_{t+1}).

    Where the clock ended the episode, and where the rollout ends, v_{t+1} stands for G_{t+1}. PQN's targets are these
    returns with maxima of Q for values; generalised advantages are these returns less the values.

    Args:
        reward: float32[T, *N], of the step from time t to t + 1; *N may be nothing, or some axes.
        bootstrap_value: float32[T, *N], v_{t+1}, the value of the state that this step led to: where an episode ended, of
            its final state, not of the next episode's first one. Not used where terminated.
        terminated: bool[T, *N], the rules ended the episode with this step.
        truncated: bool[T, *N], the clock did and the rules did not.
        gamma: the discount factor, in [0, 1].
        td_lambda: lambda, in [0, 1].

    Returns:
        float32[T, *N].

    Source: Sutton and Barto, "Reinforcement Learning", 2nd ed., section 12.2; Schulman et al. 2016, arXiv 1506.02438.
    """

    def back(
        later: Float32[Array, "*N"], step: tuple[Shaped[Array, "*N"], ...]
    ) -> tuple[Float32[Array, "*N"], Float32[Array, "*N"]]:
        reward, value, terminated, truncated = step
        follows = jnp.where(truncated, value, (1 - td_lambda) * value + td_lambda * later)
        total = reward + gamma * jnp.where(terminated, 0.0, follows)
        return total, total

    steps = (reward, bootstrap_value, terminated, truncated)
    return jax.lax.scan(back, bootstrap_value[-1], steps, reverse=True)[1]
