"""PPO in one file, written as training scripts for gymnax 0.0.x are: make, LogWrapper, vmap and scan, one jitted `train`.

pip install "popgym-arcade[gymnax]"  # gymnax brings flax and optax, for the network; the games need neither
python examples/ppo_gymnax_style.py  # two minutes on two cores, to a mean return of 0.95
python examples/ppo_gymnax_style.py --partial-obs  # the same game with most of it hidden; this agent has no memory
"""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import popgym_arcade as gymnax  # `import gymnax` was here: this line and the next are what such a script has to change
from popgym_arcade.wrappers import LogWrapper


@dataclasses.dataclass(frozen=True)
class Config:
    """Numbers of the training; all are options on the command line."""

    game: str = "CartPoleEasy"
    partial_obs: bool = False
    obs_size: int = 64  # here, a multiple of 16
    updates: int = 100
    num_envs: int = 64
    num_steps: int = 64
    epochs: int = 4
    minibatches: int = 8
    learning_rate: float = 5e-4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy_weight: float = 0.01
    seed: int = 0


class Transition(NamedTuple):
    """What is kept of a step; every leaf has leading axes (num_steps, num_envs)."""

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array
    info: dict[str, jax.Array]


class ActorCritic(nn.Module):
    """Frames uint8[..., S, S, 3] to logits float32[..., num_actions] and values float32[...]."""

    num_actions: int

    @nn.compact
    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See the class."""
        x = obs.astype(jnp.float32) / 255
        for features, size in ((32, 8), (64, 2)):  # convolutions without overlap: as products they are fast on CPUs, too
            x = x.reshape(*x.shape[:-3], x.shape[-3] // size, size, x.shape[-2] // size, size, x.shape[-1])
            x = nn.relu(nn.DenseGeneral(features, axis=(-4, -2, -1))(x))
        x = nn.relu(nn.Dense(256)(x.reshape(*x.shape[:-3], -1)))
        return nn.Dense(self.num_actions, kernel_init=nn.initializers.orthogonal(0.01))(x), nn.Dense(1)(x)[..., 0]


def log_probability(logits: jax.Array, action: jax.Array) -> jax.Array:
    """Of the actions int[...] under logits float32[..., num_actions]: float32[...]."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], axis=-1)[..., 0]


def make_train(config: Config) -> Callable[[jax.Array], Any]:
    """Return train: key -> (network parameters, metrics float32[updates]), fit for jit, and for vmap over keys."""
    env, env_params = gymnax.make(config.game, partial_obs=config.partial_obs, obs_size=config.obs_size)
    env = LogWrapper(env)
    network: Any = ActorCritic(env.action_space(env_params).n)
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(config.learning_rate, eps=1e-5))
    step = jax.vmap(env.step, in_axes=(0, 0, 0, None))

    def advantages(batch: Transition, last_value: jax.Array) -> jax.Array:
        def body(carry: Any, t: Transition) -> Any:
            advantage, next_value = carry
            error = t.reward + config.gamma * next_value * (1 - t.done) - t.value
            advantage = error + config.gamma * config.gae_lambda * (1 - t.done) * advantage
            return (advantage, t.value), advantage

        return jax.lax.scan(body, (jnp.zeros_like(last_value), last_value), batch, reverse=True)[1]

    def loss(params: Any, batch: Transition, advantage: jax.Array, target: jax.Array) -> jax.Array:
        logits, value = network.apply(params, batch.obs)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        ratio = jnp.exp(log_probability(logits, batch.action) - batch.log_prob)
        actor = -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - config.clip, 1 + config.clip) * advantage).mean()
        entropy = -(jax.nn.softmax(logits) * jax.nn.log_softmax(logits)).sum(-1).mean()
        return actor + 0.25 * jnp.square(value - target).mean() - config.entropy_weight * entropy

    def update(carry: Any, inputs: Any) -> Any:
        params, opt_state, obs, env_state = carry
        number, (key_play, key_learn) = inputs[0], jax.random.split(inputs[1])

        def play(carry: Any, key: jax.Array) -> Any:
            obs, env_state = carry
            key_action, key_step = jax.random.split(key)
            logits, value = network.apply(params, obs)
            action = jax.random.categorical(key_action, logits)
            step_keys = jax.random.split(key_step, config.num_envs)
            after, env_state, reward, done, info = step(step_keys, env_state, action, env_params)
            return (after, env_state), Transition(obs, action, log_probability(logits, action), value, reward, done, info)

        def learn(carry: Any, chosen: jax.Array) -> Any:
            params, opt_state = carry
            gradient = jax.grad(loss)(params, *jax.tree.map(lambda x: x[chosen], data))
            changes, opt_state = optimizer.update(gradient, opt_state)
            return (optax.apply_updates(params, changes), opt_state), None

        (obs, env_state), batch = jax.lax.scan(play, (obs, env_state), jax.random.split(key_play, config.num_steps))
        advantage = advantages(batch, network.apply(params, obs)[1])
        data = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (batch, advantage, advantage + batch.value))
        epoch_keys = jax.random.split(key_learn, config.epochs)
        orders = jax.vmap(jax.random.permutation, in_axes=(0, None))(epoch_keys, config.num_steps * config.num_envs)
        orders = orders.reshape(config.epochs * config.minibatches, -1)
        (params, opt_state), _ = jax.lax.scan(learn, (params, opt_state), orders)

        ended = batch.info["returned_episode"]
        mean_return = jnp.mean(batch.info["returned_episode_returns"], where=ended)  # nan if no episode ended
        jax.debug.print("update {}: mean return {:.3f}, {} episodes", number, mean_return, ended.sum())
        return (params, opt_state, obs, env_state), mean_return

    def train(key: jax.Array) -> Any:
        key_network, key_reset, key_train = jax.random.split(key, 3)
        obs, env_state = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(key_reset, config.num_envs), env_params)
        params = network.init(key_network, obs)
        inputs = jnp.arange(config.updates), jax.random.split(key_train, config.updates)
        (params, *_), returns = jax.lax.scan(update, (params, optimizer.init(params), obs, env_state), inputs)
        return params, returns

    return train


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Config):
        kind: Any = {"action": "store_true"} if field.type is bool else {"type": field.type, "default": field.default}
        parser.add_argument("--" + field.name.replace("_", "-"), **kind)
    config = Config(**vars(parser.parse_args()))
    jax.block_until_ready(jax.jit(make_train(config))(jax.random.key(config.seed)))
