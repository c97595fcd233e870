"""The interface of algorithms: hyperparameters, the first learner, and one update.

The loop over updates, checkpoints and logs belongs to the trainer. What algorithms share beside this are plain functions:
`collect` plays, `lambda_returns` computes targets, `minibatches` deals out sequences and takes gradient steps.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from jaxtyping import Array, Bool, Float32, Int32, PRNGKeyArray, UInt8

from popgym_arcade import checks
from popgym_arcade.baselines.arrays import Keys
from popgym_arcade.environment import Environment

Metrics = dict[str, Float32[Array, ""]]
_LARGEST, _LARGEST_COUNT = float(np.finfo(np.float32).max), (1 << 31) - 1


@runtime_checkable
class Network(Protocol):
    """A network with memory, or without, called for one environment with time as the first axis; batch it by `jax.vmap`."""

    def initial_state(self) -> Any:
        """Return the memory before the first frame, a pytree of arrays.

        It has no leaves if there is no memory: then each frame is answered by itself, whatever sequence it stands in.
        """
        ...

    def __call__(
        self,
        state: Any,
        obs: UInt8[Array, "T S S 3"],
        last_action: Int32[Array, "T"],
        start: Bool[Array, "T"],
        /,
    ) -> tuple[Any, Any]:
        """Process a sequence.

        Args:
            state: the memory before it.
            obs: uint8[T, S, S, 3].
            last_action: int32[T], unused where `start`.
            start: bool[T], whether a frame begins an episode, and resets the memory before it is seen.

        Returns:
            (memory after it, outputs): Q-values float32[T, A], or logits and values, float32[T, A] and float32[T].
        """
        ...


@dataclasses.dataclass(frozen=True)
class Shard:
    """The part of the environments that one device plays; all of them, if there is no axis.

    Whatever is random belongs to an environment, or to a row of sequences, by its index among all, so results do not depend
    on the number of devices.
    """

    axis_name: str | None = None
    """The name of the axis of devices, as in `jax.shard_map`."""
    num_devices: int = 1

    def indices(self, count: int) -> Int32[Array, "part"]:
        """Return the indices, among all, of this device's part of `count` things: int32[count / num_devices]."""
        part = count // self.num_devices
        return jnp.arange(part) + (0 if self.axis_name is None else part * jax.lax.axis_index(self.axis_name))

    def mean(self, tree: Any) -> Any:
        """Average over the devices, each of which has as much as any other."""
        return tree if self.axis_name is None else jax.lax.pmean(tree, self.axis_name)


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """The learning problem: fixed for a whole run."""

    env: Environment[Any, Any]
    env_params: Any
    network_structure: Any
    """A network without its parameters, as by `equinox.filter(network, equinox.is_inexact_array, inverse=True)`."""
    key: PRNGKeyArray
    """The key of the run. Each update, and each environment in it, has a key of its own, derived from its index."""
    shard: Shard = Shard()

    def network(self, params: Any) -> Network:
        """Return the network with these parameters."""
        return eqx.combine(params, self.network_structure)

    def env_keys(self, update: Int32[Array, ""] | int, num_envs: int) -> Keys:
        """Return the keys of this device's environments in an update, counted from 0; those of update -1 start them."""
        key = jax.random.fold_in(jax.random.fold_in(self.key, 1), 1 + update)
        return jax.vmap(lambda index: jax.random.fold_in(key, index))(self.shard.indices(num_envs))

    def minibatch_key(self, update: Int32[Array, ""]) -> PRNGKeyArray:
        """Return the key of what is drawn at random to learn from in an update."""
        return jax.random.fold_in(jax.random.fold_in(self.key, 2), update)


class Learner(NamedTuple):
    """The whole state of training, a pytree of arrays: whoever keeps it can go on."""

    params: Any
    """The parameters of the network."""
    opt_state: Any
    actors: Any
    """`collect.Actors`; every leaf [N, ...]."""
    updates: Int32[Array, ""]
    """The number of updates made."""


L = TypeVar("L", bound=tuple)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Algorithm(abc.ABC, Generic[L]):
    """An algorithm, with the hyperparameters that all have. Steps are environment steps, where not said otherwise."""

    total_timesteps: float = 1e7
    """Steps of the whole run, of all environments together."""
    num_envs: int = 16
    """Environments that are played at once."""
    num_steps: int = 128
    """Steps of each environment in an update."""
    epochs: int = 4
    """The number of passes over a rollout in each update."""
    minibatches: int = 16
    """Gradient steps in an epoch."""
    burn_in: int = 0
    """Steps at the start of a sequence that warm up a memory and are masked out of the loss."""
    max_grad_norm: float = 0.5
    """Gradients are clipped to this norm."""
    muon: bool = False
    """Whether Muon trains in place of Adam or RAdam: the weights of linear maps and convolutions; Adam trains the others."""
    gamma: float = 0.99
    """The discount factor."""
    bootstrap_truncated: bool = True
    """Whether a value stands for what would follow where the clock ends an episode; if not, nothing follows."""

    def __post_init__(self) -> None:
        """Check the hyperparameters.

        Raises:
            TypeError: if one has the wrong type.
            ValueError: if one is out of range.
        """
        checks.fields(self)
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not abs(value) <= _LARGEST:
                raise ValueError(f"{name} must be a number of 32 bits, got {value}")
        check_counts(self, "total_timesteps", "num_envs", "num_steps", "epochs", "minibatches")
        check_fractions(self, "gamma")
        if not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be positive, got {self.max_grad_norm}")
        if not 0 <= self.burn_in < self.num_steps:
            raise ValueError(f"burn_in must be at least 0 and below num_steps, {self.num_steps}, got {self.burn_in}")

    @property
    def steps_per_update(self) -> int:
        """Environment steps in an update."""
        return self.num_envs * self.num_steps

    def gradient_steps(self, steps: float) -> int:
        """Convert environment steps to gradient steps, at least one."""
        return max(1, round(steps / self.steps_per_update * self.epochs * self.minibatches))

    def check(self, network: Network, shard: Shard) -> None:
        """Check that the hyperparameters fit the network and the devices.

        Raises:
            ValueError: if not.
        """
        memory = has_memory(network)
        what = "num_envs, as the network has a memory," if memory else "num_envs * num_steps"
        sequences = self.num_envs if memory else self.steps_per_update
        parts = self.minibatches * shard.num_devices
        if sequences % parts or self.num_envs % shard.num_devices:
            times = f" times the number of devices, {shard.num_devices}" if shard.num_devices > 1 else ""
            raise ValueError(f"{what} must be a multiple of minibatches, {self.minibatches}{times}; got {sequences}")

    @abc.abstractmethod
    def optimizer(self) -> optax.GradientTransformation:
        """Return the optimizer."""

    def clipped(
        self, optimizer: Callable[[optax.Schedule], optax.GradientTransformation], learning_rate: optax.Schedule
    ) -> optax.GradientTransformation:
        """Return an optimizer, or Muon where it is wanted, with clipped gradients.

        Muon's steps are scaled to a root mean square of 0.2 times the learning rate, about that of Adam's (Liu et al. 2025,
        arXiv 2502.16982), and Adam trains with the same learning rate what is no linear map.
        """
        if self.muon:
            optimizer = functools.partial(
                optax.contrib.muon, muon_weight_dimension_numbers=_muon_dimensions, consistent_rms=0.2
            )
        return optax.chain(optax.clip_by_global_norm(self.max_grad_norm), optimizer(learning_rate))

    @abc.abstractmethod
    def init(self, params: Any, task: Task) -> L:
        """Return where training starts, fit for jit.

        Args:
            params: the first parameters of the network, of which `task` has the structure.
            task: what is learned.
        """

    @abc.abstractmethod
    def update(self, learner: L, task: Task) -> tuple[L, Metrics]:
        """Make one update; fit for jit, for vmap over learners and keys, and, with a shard, for shard_map.

        Returns:
            (learner, metrics), the metrics float32[]: means over the gradient steps of `gradient_norm` and of what the loss
            consists of; `policy_churn`, in how much of the rollout the greedy action has changed; `episodes`, how many ended
            while playing, and `mean_return`, theirs, nan if there are none.
        """


def _muon_dimensions(params: Any) -> Any:
    """Tell which axes of a parameter are inputs and outputs; None where it is no linear map."""
    linear = optax.contrib.MuonDimensionNumbers(1, 0)
    convolution = optax.contrib.MuonDimensionNumbers((0, 1, 2), 3)
    return jax.tree.map(lambda leaf: {2: linear, 4: convolution}.get(leaf.ndim), params)


def annealed(first: float, last: float, length: float, steps: Int32[Array, ""] | int) -> Float32[Array, ""]:
    """Return what a value has come to after so many steps, on its straight way to the last one at `length`: float32[]."""
    return jnp.asarray(optax.linear_schedule(first, last, max(1, round(length)))(steps))


def has_memory(network: Network) -> bool:
    """Whether a network carries anything from frame to frame."""
    return bool(jax.tree.leaves(eqx.filter_eval_shape(lambda network: network.initial_state(), network)))


def check_fractions(algorithm: Algorithm[Any], *names: str) -> None:
    """Raise a ValueError if a hyperparameter is not from 0 to 1."""
    for name in names:
        checks.in_range(name, getattr(algorithm, name), 0, 1)


def check_counts(settings: Any, *names: str) -> None:
    """Raise a ValueError if a setting is neither None nor a count of 32 bits, at least 1."""
    for name in names:
        if getattr(settings, name) is not None:
            checks.in_range(name, getattr(settings, name), 1, _LARGEST_COUNT)
