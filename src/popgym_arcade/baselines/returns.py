"""Lambda returns, for values and for advantages, with the two ends of an episode kept apart."""

import jax
import jax.numpy as jnp


def lambda_returns(
    reward: jax.Array, next_value: jax.Array, terminated: jax.Array, truncated: jax.Array, discount: float, decay: float
) -> jax.Array:
    """Return G_t = r_t + discount * (1 - terminated_t) * ((1 - decay) * v_{t+1} + decay * G_{t+1}).

    Where nothing follows on the tape, because the clock ended the episode or the tape itself ends, v_{t+1} stands for
    G_{t+1}. PQN's targets are these with maxima of Q for values; generalised advantages are these less the values.

    Args:
        reward: float32[T, ...], for the step from time t to t + 1.
        next_value: float32[T, ...], the value of the state that this step led to: where an episode ended, of its final
            state, not of the fresh one. Not used where the rules ended it.
        terminated: bool[T, ...], the rules ended the episode with this step.
        truncated: bool[T, ...], the clock did and the rules did not.
        discount: gamma, in [0, 1].
        decay: lambda, in [0, 1].

    Returns:
        float32[T, ...].

    Source: Sutton and Barto, "Reinforcement Learning", 2nd ed., section 12.2; Schulman et al. 2016, arXiv 1506.02438.
    """

    def back(later: jax.Array, step: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        reward, next_value, terminated, truncated = step
        follows = jnp.where(truncated, next_value, (1 - decay) * next_value + decay * later)
        total = reward + discount * jnp.where(terminated, 0.0, follows)
        return total, total

    steps = (reward, next_value, terminated, truncated)
    return jax.lax.scan(back, next_value[-1], steps, reverse=True)[1]
