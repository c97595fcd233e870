"""The networks of the paper (arXiv 2503.01450): Q-networks and actor-critics, with and without memory.

All are one structure: an encoder looks at frames, a memory reads what it saw, a head answers. All are called in one way,
for one environment with time as the first axis; batch them by `jax.vmap`, or by `collect.run_batch`, which trains faster.
All leaves are float arrays. Linear maps start uniform within 1 / sqrt(fan-in) of zero, the default of `equinox.nn`, as in
the paper's code.
"""

import abc
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Integer, PRNGKeyArray

from popgym_arcade import checks
from popgym_arcade.baselines.arrays import Frames
from popgym_arcade.baselines.model.encoder import ConvEncoder, Encoder, KeypointEncoder, PatchEncoder
from popgym_arcade.baselines.model.linear import linear
from popgym_arcade.baselines.model.memory import Memory, MemoryConstructor, make_memory

EncoderConstructor = Callable[[int, PRNGKeyArray], Encoder]

ENCODERS: dict[str, EncoderConstructor] = {"conv": ConvEncoder, "patch": PatchEncoder, "keypoint": KeypointEncoder}


class Head(eqx.Module):
    """Base class of heads, from outputs of the memory to those of the network.

    Made by `head(width, num_actions, key)`.
    """

    @abc.abstractmethod
    def __call__(self, x: Float32[Array, "T outputs"]) -> Any:
        """Answer, for each frame: from float32[T, outputs] to float32[T, ...], or a tuple of such."""


class QHead(Head):
    """The values of all actions, float32[T, A]."""

    values: eqx.nn.Linear

    def __init__(self, width: int, num_actions: int, key: PRNGKeyArray) -> None:
        self.values = eqx.nn.Linear(width, num_actions, key=key)

    def __call__(self, x: Float32[Array, "T outputs"]) -> Float32[Array, "T A"]:
        """Value all actions."""
        return linear(self.values, x)


class ActorCriticHead(Head):
    """The logits of a policy, float32[T, A], and the value of the present state, float32[T]."""

    policy: eqx.nn.Linear
    value: eqx.nn.Linear

    def __init__(self, width: int, num_actions: int, key: PRNGKeyArray) -> None:
        key_policy, key_value = jax.random.split(key)
        self.policy = eqx.nn.Linear(width, num_actions, key=key_policy)
        self.value = eqx.nn.Linear(width, "scalar", key=key_value)

    def __call__(self, x: Float32[Array, "T outputs"]) -> tuple[Float32[Array, "T A"], Float32[Array, "T"]]:
        """Rate all actions, and value the state."""
        return linear(self.policy, x), linear(self.value, x)[:, 0]


class MemoryNetwork(eqx.Module):
    """Base class of networks: encoder, memory, head.

    Raises:
        TypeError: if an argument has the wrong type; when traced, if one of a call does.
        ValueError: if `num_actions` is below 1, `obs_size` not in 64..512, or a name unknown (the error names the closest);
            when traced, if the arguments of a call do not fit together.
    """

    encoder: Encoder
    memory: Memory
    head: Head
    num_actions: int = eqx.field(static=True)
    """The number of actions."""
    sees_last_action: bool = eqx.field(static=True)
    """Whether the last action enters the memory."""

    def __init__(
        self,
        make_head: Callable[[int, int, PRNGKeyArray], Head],
        make_memory: Callable[..., Memory],
        num_actions: int,
        key: PRNGKeyArray,
        obs_size: int,
        encoder: str | EncoderConstructor,
        hidden_size: int,
        sees_last_action: bool,
    ) -> None:
        self.num_actions = checks.integer("num_actions", num_actions, 1)
        self.sees_last_action = sees_last_action
        checks.integer("hidden_size", hidden_size, 1)
        key_encoder, key_memory, key_head = jax.random.split(key, 3)
        self.encoder = _make_encoder(encoder, obs_size, key_encoder)
        inputs = self.encoder.features + (num_actions if sees_last_action else 0)
        self.memory = make_memory(key=key_memory, input_size=inputs, output_size=hidden_size)
        self.head = make_head(hidden_size, num_actions, key_head)

    @property
    def obs_size(self) -> int:
        """Height and width in pixels of the frames it is made for."""
        return self.encoder.obs_size

    def initial_state(self) -> Any:
        """Return the state before any frame, a pytree of arrays (an empty one, where there is nothing to remember)."""
        return self.memory.initial_state()

    def __call__(
        self, state: Any, obs: Frames, last_action: Integer[Array, "T"], start: Bool[Array, "T"]
    ) -> tuple[Any, Any]:
        """Answer a sequence of frames of one environment.

        Args:
            state: what an earlier call returned, or `initial_state()`.
            obs: frames, uint8[T, S, S, 3]; or float32 of that shape in [0, 1], to differentiate by pixels.
            last_action: the action that led to a frame, int32[T] or other integers, unused where `start`.
            start: whether a frame begins an episode, bool[T]: nothing from before it reaches the answers from there on, or
                the state.

        Returns:
            (state after the last frame, answers): of a Q-network the values float32[T, A], of an actor-critic the logits
            float32[T, A] and the value float32[T].
        """
        for name, array, kind in (("last_action", last_action, jnp.integer), ("start", start, jnp.bool_)):
            if array.shape != obs.shape[:1]:
                raise ValueError(f"{name} must have the shape {list(obs.shape[:1])}, got {list(array.shape)}")
            if not jnp.issubdtype(array.dtype, kind):
                raise TypeError(f"{name} must be of dtype {'bool' if kind is jnp.bool_ else 'int32'}, got {array.dtype}")
        return self.remember(state, self.encoder(obs), last_action, start)

    def remember(
        self,
        state: Any,
        features: Float32[Array, "T F"],
        last_action: Integer[Array, "T"],
        start: Bool[Array, "T"],
    ) -> tuple[Any, Any]:
        """Answer a sequence of which the encoder has seen the frames already: what it made of them is float32[T, F]."""
        x = features
        if self.sees_last_action:
            # An action of the episode before is none of this one's affair.
            known = jnp.where(start[:, None], 0.0, jax.nn.one_hot(last_action, self.num_actions))
            x = jnp.concatenate([x, known], axis=-1)
        state, x = self.memory(state, x, start)
        return state, self.head(x)


# Each has an `__init__` of its own: type checkers take an equinox module without one for a dataclass of its fields.


class QNetwork(MemoryNetwork):
    """The paper's Q-network without memory, which sees the present frame alone: at 128 px 704,901 parameters.

    The last action and the start of an episode are arguments as in all networks, and make no difference. To compare with a
    memory at equal inputs and capacity, take `QNetworkRNN` with `memory_type="none"`.

    Args:
        num_actions: the number of actions.
        key: one JAX random key, new-style or old-style.
        obs_size: height and width of the frames in pixels, 64 to 512.
        encoder: "conv", the paper's; "patch" and "keypoint", small ones for CPUs; or a constructor
            called as `encoder(obs_size, key)`.
        hidden_size: the width of the two layers between encoder and head.
    """

    def __init__(
        self,
        num_actions: int,
        key: PRNGKeyArray,
        *,
        obs_size: int = 128,
        encoder: str | EncoderConstructor = "conv",
        hidden_size: int = 256,
    ) -> None:
        super().__init__(QHead, _Reflex, num_actions, key, obs_size, encoder, hidden_size, sees_last_action=False)


class QNetworkRNN(MemoryNetwork):
    """The paper's Q-network with memory: at 128 px 3,529,861 parameters with LRU, 4,577,413 with GRU.

    The memory reads the features of each frame and the last action, one-hot. `memory_type="none"` reads the same and has as
    many parameters, but remembers nothing.

    Args:
        num_actions: the number of actions.
        key: one JAX random key, new-style or old-style.
        memory_type: a name in any case, see `memory.memory_names()`, or a constructor, see `memory.make_memory`.
        obs_size: height and width of the frames in pixels, 64 to 512.
        encoder: "conv", the paper's; "patch" and "keypoint", small ones for CPUs; or a constructor
            called as `encoder(obs_size, key)`.
        memory_size: the width of the memory's layers.
        layers: how many layers the memory has.
        hidden_size: the width of what the memory hands to the head.
        window_size: how many frames attention and Stack look back; if left out 20 and 4, as in memax. The paper has 128.
        horizon: for GRU, LRU and MinGRU: over how many steps they hold what they see, before training, see
            `memory.make_memory`; if left out, as in memax.
        capacity_of: for `"none"`: the memory it will be compared with, "lru" if left out.
    """

    def __init__(
        self,
        num_actions: int,
        key: PRNGKeyArray,
        memory_type: str | MemoryConstructor,
        *,
        obs_size: int = 128,
        encoder: str | EncoderConstructor = "conv",
        memory_size: int = 512,
        layers: int = 2,
        hidden_size: int = 256,
        window_size: int | None = None,
        horizon: int | None = None,
        capacity_of: str | MemoryConstructor | None = None,
    ) -> None:
        options: Any = {"layers": layers, "window_size": window_size, "horizon": horizon, "capacity_of": capacity_of}
        memory = functools.partial(make_memory, memory_type, memory_size, **options)
        super().__init__(QHead, memory, num_actions, key, obs_size, encoder, hidden_size, sees_last_action=True)


class ActorCritic(MemoryNetwork):
    """`QNetwork` with a policy and a value in place of Q-values; the two share all but their last linear maps."""

    def __init__(
        self,
        num_actions: int,
        key: PRNGKeyArray,
        *,
        obs_size: int = 128,
        encoder: str | EncoderConstructor = "conv",
        hidden_size: int = 256,
    ) -> None:
        super().__init__(ActorCriticHead, _Reflex, num_actions, key, obs_size, encoder, hidden_size, sees_last_action=False)


class ActorCriticRNN(MemoryNetwork):
    """`QNetworkRNN` with a policy and a value in place of Q-values; the two share all but their last linear maps."""

    def __init__(
        self,
        num_actions: int,
        key: PRNGKeyArray,
        memory_type: str | MemoryConstructor,
        *,
        obs_size: int = 128,
        encoder: str | EncoderConstructor = "conv",
        memory_size: int = 512,
        layers: int = 2,
        hidden_size: int = 256,
        window_size: int | None = None,
        horizon: int | None = None,
        capacity_of: str | MemoryConstructor | None = None,
    ) -> None:
        options: Any = {"layers": layers, "window_size": window_size, "horizon": horizon, "capacity_of": capacity_of}
        memory = functools.partial(make_memory, memory_type, memory_size, **options)
        super().__init__(ActorCriticHead, memory, num_actions, key, obs_size, encoder, hidden_size, sees_last_action=True)


class _Reflex(Memory):
    """Two layers with LayerNorm and leaky ReLU, in the place of a memory: they see the present frame alone."""

    layers: tuple[eqx.nn.Linear, ...]
    norms: tuple[eqx.nn.LayerNorm, ...]

    def __init__(self, *, key: PRNGKeyArray, input_size: int, output_size: int) -> None:
        first, second = jax.random.split(key)
        self.layers = (
            eqx.nn.Linear(input_size, output_size, key=first),
            eqx.nn.Linear(output_size, output_size, key=second),
        )
        self.norms = (eqx.nn.LayerNorm(output_size), eqx.nn.LayerNorm(output_size))

    @property
    def name(self) -> str:
        return "none"

    def initial_state(self) -> tuple[()]:
        return ()

    def __call__(
        self, state: tuple[()], x: Float32[Array, "T inputs"], start: Bool[Array, "T"]
    ) -> tuple[tuple[()], Float32[Array, "T outputs"]]:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = jax.nn.leaky_relu(jax.vmap(norm)(linear(layer, x)))
        return state, x


def _make_encoder(encoder: str | EncoderConstructor, obs_size: int, key: PRNGKeyArray) -> Encoder:
    if not isinstance(encoder, str):
        if not callable(encoder):
            raise TypeError(f"encoder must be a name or a constructor, got {encoder!r}")
        return encoder(obs_size, key)
    return ENCODERS[checks.one_of("encoder", encoder.lower(), ENCODERS)](obs_size, key)
