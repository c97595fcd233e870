"""Searches for players without memory: by policy gradients (proximal policy optimisation), and by evolution.

They serve the reference players of the package and, with cheap settings, `check_environment`. What they find is a lower
bound of what can be had without memory.

Source: J. Schulman et al., "Proximal Policy Optimization Algorithms", 2017.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from popgym_arcade.environment import Environment
from popgym_arcade.players.player import Player, play

_CLIP = 0.2
_ENTROPY = 0.03  # its weight in the loss at the start; it falls to zero
_EPOCHS, _MINIBATCHES = 4, 4


class Policy(NamedTuple):
    """A stochastic policy with weights to be found."""

    weights: Any
    """A pytree of float32 arrays."""
    apply: Callable[[Any, Any, jax.Array], jax.Array]
    """(weights, glimpse, time int32[]) -> float32[6]: the logits of the five actions, and a guess of the return to go."""
    player: Callable[[Any], Player]
    """weights -> the player that they make. What it plays may be the likeliest actions of the policy alone."""


class Found(NamedTuple):
    """The result of a search."""

    weights: Any
    total: float
    """The mean return of `validation` episodes, by which these weights were chosen among others."""


def scripts(length: int) -> Policy:
    """Blind policies: each time has its own distribution of actions, and the player takes the likeliest ones."""

    def apply(weights: Any, glimpse: Any, time: jax.Array) -> jax.Array:
        return weights[jnp.minimum(time, length - 1)]

    def player(weights: Any) -> Player:
        return blind_player(jnp.argmax(weights[:, :5], 1))

    return Policy(jnp.zeros((length, 6), jnp.float32), apply, player)


def blind_player(script: jax.Array) -> Player:
    """Return the player that takes the actions of a script, int[length], one after the other, and then its last one."""

    def act(key: jax.Array, time: Any, glimpse: Any) -> tuple[Any, jax.Array]:
        return time + 1, script[jnp.minimum(time, len(script) - 1)].astype(jnp.int32)

    return Player(jnp.zeros((), jnp.int32), act)


def networks(features: Callable[[Any], jax.Array], size: int, hidden: int, first: Any = None, seed: int = 0) -> Policy:
    """Memoryless policies over features, float32[size], of the present glimpse: a linear map and a layer of rectified units.

    Args:
        features: glimpse -> float32[size].
        size: how many there are.
        hidden: how many units.
        first: float32[size, 6], where the linear map starts; zeros if left out.
        seed: of the units' first weights.
    """
    rng = np.random.default_rng(seed)
    weights = {
        "linear": jnp.zeros((size, 6), jnp.float32) if first is None else jnp.asarray(first, jnp.float32),
        "first": jnp.asarray(rng.normal(0, 0.3, (size, hidden)), jnp.float32),
        "bias": jnp.zeros(hidden, jnp.float32),
        "last": jnp.zeros((hidden, 6), jnp.float32),
    }

    def apply(weights: Any, glimpse: Any, time: jax.Array) -> jax.Array:
        return network(weights, features(glimpse))

    return Policy(weights, apply, lambda weights: memoryless_player(lambda glimpse: apply(weights, glimpse, jnp.int32(0))))


def tables(entries: int) -> Policy:
    """Memoryless policies that know no game: a table of `entries` logits, looked up by a hash of the whole glimpse."""

    def apply(weights: Any, glimpse: Any, time: jax.Array) -> jax.Array:
        return weights[_hash(glimpse) % entries]

    def player(weights: Any) -> Player:
        return memoryless_player(lambda glimpse: apply(weights, glimpse, jnp.int32(0)))

    return Policy(jnp.zeros((entries, 6), jnp.float32), apply, player)


def _hash(glimpse: Any) -> jax.Array:
    """Mix all numbers of a glimpse, those with a point to two digits: uint32[]."""
    mixed = jnp.zeros((), jnp.uint32)
    for leaf in jax.tree.leaves(glimpse):
        digits = jnp.round(leaf * 100) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        numbers = digits.astype(jnp.int32).astype(jnp.uint32).reshape(-1)
        factors = np.random.default_rng(len(numbers)).integers(1, 2**32, len(numbers), np.uint32) | np.uint32(1)
        mixed = (mixed ^ jnp.sum(numbers * factors, dtype=jnp.uint32)) * np.uint32(0x9E3779B1)
    return mixed ^ (mixed >> 15)


def network(weights: dict[str, Any], features: jax.Array) -> jax.Array:
    """Apply the linear map and the layer of rectified units of `networks`."""
    return features @ weights["linear"] + jax.nn.relu(features @ weights["first"] + weights["bias"]) @ weights["last"]


def memoryless_player(logits: Callable[[Any], jax.Array]) -> Player:
    """Return the player that draws its actions by `logits` of the present glimpse, the first five of float32[...]."""

    def act(key: jax.Array, memory: Any, glimpse: Any) -> tuple[Any, jax.Array]:
        return memory, jax.random.categorical(key, logits(glimpse)[:5]).astype(jnp.int32)

    return Player((), act)


def search(
    env: Environment[Any, Any],
    policy: Policy,
    key: jax.Array,
    *,
    iterations: int,
    episodes: int,
    horizon: int,
    learning_rate: float,
    validation: int = 1024,
    params: Any = None,
    report: Callable[[int, float], None] = lambda iteration, total: None,
) -> Found:
    """Improve a policy, and keep the best of what it became on the way.

    Args:
        env: the view that is played.
        policy: where to start.
        key: one JAX random key.
        iterations: rollouts to learn from; the policy is judged 16 times among them.
        episodes: in a rollout, a multiple of 4.
        horizon: the steps of an episode to learn from, at most.
        learning_rate: Adam's, at the start; it falls to zero.
        validation: episodes by which a policy is judged.
        params: the parameters of the game, `default_params` if left out.
        report: called with the number of the iteration and the mean return of each policy judged.
    """
    params = env.default_params if params is None else params
    update = jax.jit(functools.partial(_update, env, params, policy.apply, episodes, horizon))
    judge = jax.jit(lambda weights, key: _mean_return(env, params, policy.player(weights), key, validation))
    weights, moments = policy.weights, jax.tree.map(lambda leaf: jnp.zeros((2, *leaf.shape)), policy.weights)
    key_judge, key = jax.random.split(key)
    best = Found(weights, float(judge(weights, key_judge)))
    for iteration in range(iterations):
        left = 1 - iteration / iterations
        weights, moments = update(weights, moments, jax.random.fold_in(key, iteration), iteration, learning_rate, left)
        if (iteration + 1) % max(1, iterations // 16) == 0:
            total = float(judge(weights, key_judge))
            report(iteration + 1, total)
            best = Found(weights, total) if total > best.total else best
    return best


def evolve(
    env: Environment[Any, Any],
    policy: Policy,
    key: jax.Array,
    *,
    iterations: int,
    episodes: int,
    spread: float,
    pairs: int = 32,
    validation: int = 1024,
    params: Any = None,
    report: Callable[[int, float], None] = lambda iteration, total: None,
) -> Found:
    """Improve a policy by an evolution strategy, which sees nothing but returns, and keep the best of what it became.

    Source: T. Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement Learning", 2017.

    Args:
        env: the view that is played.
        policy: where to start.
        key: one JAX random key.
        iterations: generations; the policy is judged 16 times among them.
        episodes: that each mutant plays, all of them the same ones.
        spread: the standard deviation of mutations; half of it is a step of the weights, at the start, and it falls to zero.
        pairs: of mutants in a generation, each the other's mirror image.
        validation: episodes by which a policy is judged.
        params: the parameters of the game, `default_params` if left out.
        report: called with the number of the generation and the mean return of each policy judged.
    """
    params = env.default_params if params is None else params
    flat, restore = jax.flatten_util.ravel_pytree(policy.weights)

    def mean_return(flat: jax.Array, key: jax.Array, episodes: int) -> jax.Array:
        return _mean_return(env, params, policy.player(restore(flat)), key, episodes)

    @jax.jit
    def generation(flat: jax.Array, key: jax.Array, left: jax.Array) -> jax.Array:
        key_mutants, key_play = jax.random.split(key)
        mutations = jax.random.normal(key_mutants, (pairs, flat.size))
        mutants = flat + spread * jnp.concatenate([mutations, -mutations])
        totals = jax.vmap(lambda mutant: mean_return(mutant, key_play, episodes))(mutants)
        ranks = jnp.argsort(jnp.argsort(totals)) / (2 * pairs - 1) - 0.5
        slope = (ranks[:pairs] - ranks[pairs:]) @ mutations
        return flat + left * spread / 2 * slope / (jnp.sqrt(jnp.mean(slope**2)) + 1e-8)

    judge = jax.jit(functools.partial(mean_return, episodes=validation))
    key_judge, key = jax.random.split(key)
    best = Found(policy.weights, float(judge(flat, key_judge)))
    for iteration in range(iterations):
        flat = generation(flat, jax.random.fold_in(key, iteration), 1 - iteration / iterations)
        if (iteration + 1) % max(1, iterations // 16) == 0:
            total = float(judge(flat, key_judge))
            report(iteration + 1, total)
            best = Found(restore(flat), total) if total > best.total else best
    return best


def _mean_return(env: Environment[Any, Any], params: Any, player: Player, key: jax.Array, episodes: int) -> jax.Array:
    return jnp.mean(jax.vmap(lambda key: play(env, player, key, params).total)(jax.random.split(key, episodes)))


def _update(
    env: Environment[Any, Any],
    params: Any,
    apply: Callable[..., jax.Array],
    episodes: int,
    horizon: int,
    weights: Any,
    moments: Any,
    key: jax.Array,
    iteration: jax.Array,
    rate: jax.Array,
    left: jax.Array,
) -> tuple[Any, Any]:
    """Play a rollout, and take gradient steps on it.

    `moments` are Adam's, first and second stacked; `left` is the part of the search that is still to come.
    """
    keys = jax.random.split(key, (3, episodes))

    def turn(carry: Any, time: jax.Array) -> Any:
        state, playing = carry
        glimpse = jax.vmap(env.glimpse)(state)
        outputs = jax.vmap(apply, in_axes=(None, 0, None))(weights, glimpse, time)
        fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
        action = jax.vmap(jax.random.categorical)(fold(keys[1], time), outputs[:, :5])
        step = jax.vmap(env.step_env, in_axes=(0, 0, 0, None))
        _, state, reward, done, _ = step(fold(keys[2], time), state, action, params)
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(outputs[:, :5]), action[:, None], 1)[:, 0]
        return (state, playing & ~done), (glimpse, action, log_prob, jnp.where(playing, reward, 0.0), playing)

    state = jax.vmap(env.reset, in_axes=(0, None))(keys[0], params)[1]
    start = state, jnp.ones(episodes, bool)
    _, (glimpses, actions, log_probs, rewards, playing) = jax.lax.scan(turn, start, jnp.arange(horizon))
    returns = jnp.cumsum(rewards[::-1], 0)[::-1]
    usual = jnp.sum(jnp.where(playing, returns, 0), 1, keepdims=True) / jnp.maximum(jnp.sum(playing, 1, keepdims=True), 1)
    rollout = glimpses, actions, log_probs, returns - usual, playing

    def loss(weights: Any, part: Any) -> jax.Array:
        glimpses, actions, old, gains, playing = part
        per_step = jax.vmap(jax.vmap(apply, in_axes=(None, 0, None)), in_axes=(None, 0, 0))
        outputs = per_step(weights, glimpses, jnp.arange(horizon))
        log_policy = jax.nn.log_softmax(outputs[..., :5])
        ratio = jnp.exp(jnp.take_along_axis(log_policy, actions[..., None], -1)[..., 0] - old)
        advantage = jax.lax.stop_gradient(gains - outputs[..., 5])
        count = jnp.maximum(jnp.sum(playing), 1)
        mean = jnp.sum(jnp.where(playing, advantage, 0)) / count
        spread = jnp.sqrt(jnp.sum(jnp.where(playing, (advantage - mean) ** 2, 0)) / count)
        advantage = (advantage - mean) / (spread + 1e-6)
        gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - _CLIP, 1 + _CLIP) * advantage)
        entropy = -jnp.sum(jnp.exp(log_policy) * log_policy, -1)
        return jnp.sum(jnp.where(playing, (outputs[..., 5] - gains) ** 2 - gain - left * _ENTROPY * entropy, 0)) / count

    def gradient_step(carry: Any, number: jax.Array) -> tuple[Any, None]:
        weights, moments = carry
        size = episodes // _MINIBATCHES
        part = jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, (number % _MINIBATCHES) * size, size, 1), rollout
        )
        gradient = jax.grad(loss)(weights, part)
        steps = iteration * _EPOCHS * _MINIBATCHES + number + 1.0

        def adam(weight: jax.Array, moment: jax.Array, slope: jax.Array) -> tuple[jax.Array, jax.Array]:
            first, second = 0.9 * moment[0] + 0.1 * slope, 0.999 * moment[1] + 0.001 * slope**2
            scale = jnp.sqrt(second / (1 - 0.999**steps)) + 1e-8
            return weight - left * rate * first / (1 - 0.9**steps) / scale, jnp.stack([first, second])

        pairs = jax.tree.map(adam, weights, moments, gradient)
        return jax.tree.transpose(jax.tree.structure(weights), jax.tree.structure((0, 0)), pairs), None

    return jax.lax.scan(gradient_step, (weights, moments), jnp.arange(_EPOCHS * _MINIBATCHES))[0]
