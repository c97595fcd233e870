"""Memories: what turns a sequence of features into a sequence that knows the past.

`make_memory` makes any model of memax 0.1.1, MinGRU, and a feed-forward network of equal capacity that remembers nothing.
A memory of your own is a subclass of `Memory`; hand its constructor to `make_memory` in place of a name.
"""

import abc
from collections.abc import Callable
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, PRNGKeyArray

from popgym_arcade import checks
from popgym_arcade.baselines.model.linear import linear

MEMAX = (
    *("MLP", "NMax", "FART", "FWP", "DeltaNet", "DeltaProduct", "GDN", "FFM", "S6", "PSpherical", "LRU", "LinearRNN"),
    *("Stack", "Attention", "Attention-RoPE", "Attention-ALiBi", "GRU", "Elman", "ElmanReLU", "Spherical", "MGU", "LSTM"),
)
SMALL = "none-small"
"""The name of the paper's smaller network, which has no memory at all."""
_MEMAX = {name.lower(): name for name in MEMAX}
_WINDOWED = ("stack", "attention", "attention-rope", "attention-alibi")
_HOLDING = ("gru", "lru", "mingru")


class Memory(eqx.Module):
    """A function of a state and a sequence, for one environment; batch it by `jax.vmap`.

    All leaves are float arrays, so a memory is an ordinary argument of `jax.jit`, `jax.grad` and `jax.vmap`.
    """

    @property
    def name(self) -> str | None:
        """The name it was made by, in lower case ("none" for what remembers nothing); None for one of your own."""
        return None

    @abc.abstractmethod
    def initial_state(self) -> Any:
        """Return the state before any frame, a pytree of arrays; the same shapes and dtypes come back from every call."""

    @abc.abstractmethod
    def __call__(
        self, state: Any, x: Float32[Array, "T inputs"], start: Bool[Array, "T"]
    ) -> tuple[Any, Float32[Array, "T outputs"]]:
        """Read a sequence.

        Args:
            state: what an earlier call returned, or `initial_state()`.
            x: the features of frames, float32[T, inputs], T at least 1.
            start: whether a frame begins an episode, bool[T]. Where it does, nothing from before it, `state` included,
                reaches the outputs from there on or the state that is returned: not a bit, even if it was not finite.

        Returns:
            (state after the last frame, outputs float32[T, outputs]). One call over a sequence equals calls over its
            parts, up to rounding.
        """


MemoryConstructor = Callable[..., Memory]


def memory_names() -> tuple[str, ...]:
    """Return the names that `make_memory` knows, in lower case."""
    return (*_MEMAX, "mingru", "none")


def make_memory(
    memory: str | MemoryConstructor,
    size: int,
    key: PRNGKeyArray,
    *,
    layers: int = 2,
    input_size: int | None = None,
    output_size: int | None = None,
    window_size: int | None = None,
    horizon: int | None = None,
    capacity_of: str | MemoryConstructor | None = None,
) -> Memory:
    """Make a memory: a linear map to `size`, layers that remember, a linear map to `output_size`.

    After each layer come a linear map, LayerNorm without parameters and leaky ReLU: the composition of memax 0.1.1, which
    the paper uses, with memax's own initialisation. MinGRU is that of Feng et al. 2024 (arXiv 2410.01201). `"none"` has
    two linear maps in place of a layer, of such a width that its parameters are as many as those of `capacity_of`.

    Args:
        memory: one of `memory_names()` in any case; or a constructor of your own, called as `memory(size, key,
            layers=..., input_size=..., output_size=...)`.
        size: the width of the layers. What memax makes of it is up to the model: some keep size numbers, others a matrix
            of sqrt(size) x sqrt(size).
        key: one JAX random key, new-style or old-style.
        layers: how many layers there are.
        input_size: the width of x, `size` if left out.
        output_size: the width of the outputs, `size` if left out.
        window_size: how many frames attention and Stack look back; if left out 20 and 4, as in memax. The paper has 128.
        horizon: for GRU, LRU and MinGRU: over how many steps the slowest unit holds what it is given, before training. Those
            of the others are spread evenly, on a log scale, from 2 steps up to that. If left out, as memax has it, half a
            GRU's state is new at every step, and half of an LRU's units forget within three.
        capacity_of: for `"none"`: the memory it will be compared with, "lru" if left out.

    Returns:
        the memory.

    Raises:
        ModuleNotFoundError: if memax is needed and missing.
        TypeError: if an argument has the wrong type, or a constructor returns no `Memory`.
        ValueError: if the name is unknown (the error names the closest), a size is not positive, attention with RoPE has
            an odd size, or an option is given to a memory that has no use for it.
    """
    checks.integer("size", size, 1)
    checks.integer("layers", layers, 1)
    input_size = checks.integer("input_size", size if input_size is None else input_size, 1)
    output_size = checks.integer("output_size", size if output_size is None else output_size, 1)
    sizes: dict[str, Any] = {"layers": layers, "input_size": input_size, "output_size": output_size}
    if callable(memory):
        if window_size is not None or horizon is not None or capacity_of is not None:
            raise ValueError(
                "window_size, horizon and capacity_of are not for a constructor of your own: bind its options to it"
            )
        made = memory(size, key, **sizes)
        if not isinstance(made, Memory):
            raise TypeError(f"{memory!r} must return a Memory, got {type(made).__name__}")
        return made
    name = checked_name(memory)
    if window_size is not None and name not in _WINDOWED:
        raise ValueError(f"window_size is for {', '.join(_WINDOWED)}; {name} has no window")
    if horizon is not None:
        checks.integer("horizon", horizon, 2)
        if name not in _HOLDING:
            raise ValueError(f"horizon is for {', '.join(_HOLDING)}, not for {name}")
    if capacity_of is not None and name != "none":
        raise ValueError(f"capacity_of is for the memory 'none', not for {name}")
    if name == "none":
        rival = "lru" if capacity_of is None else capacity_of
        if not callable(rival) and checked_name(rival) == "none":
            raise ValueError("capacity_of must be another memory than 'none'")
        goal = count_parameters(jax.eval_shape(lambda: make_memory(rival, size, key, **sizes)))
        narrowest = count_parameters(jax.eval_shape(lambda: _feed_forward(1, size, key, **sizes)))
        return _feed_forward(1 + max(0, round((goal - narrowest) / (layers * (2 * size + 1)))), size, key, **sizes)
    key, key_layers = jax.random.split(key)
    if name == "mingru":
        made_layers = tuple(_MinGRU(size, key_layer) for key_layer in jax.random.split(key_layers, layers))
    else:
        made_layers = _memax_layers(_MEMAX[name], size, layers, key_layers, window_size)
    if horizon is not None:
        steps = jnp.geomspace(2.0, horizon, size)
        made_layers = tuple(cast(_Holding, layer).holding(steps) for layer in made_layers)
    return _Stack(made_layers, name, size, input_size, output_size, key)


def count_parameters(model: Any) -> int:
    """Return how many numbers the arrays of a model hold."""
    return sum(leaf.size for leaf in jax.tree.leaves(model))


class _Stack(Memory):
    """Layers between two linear maps, each followed by a linear map, LayerNorm and leaky ReLU."""

    map_in: eqx.nn.Linear
    layers: tuple[Memory, ...]
    mixers: tuple[eqx.nn.Linear, ...]
    norm: eqx.nn.LayerNorm
    map_out: eqx.nn.Linear
    made_by: str = eqx.field(static=True)

    def __init__(
        self, layers: tuple[Memory, ...], name: str, size: int, input_size: int, output_size: int, key: PRNGKeyArray
    ) -> None:
        self.made_by = name
        key_in, key_out, *keys = jax.random.split(key, 2 + len(layers))
        self.map_in = eqx.nn.Linear(input_size, size, key=key_in)
        self.layers = layers
        self.mixers = tuple(eqx.nn.Linear(size, size, key=key_mixer) for key_mixer in keys)
        self.norm = eqx.nn.LayerNorm(size, use_weight=False, use_bias=False)
        self.map_out = eqx.nn.Linear(size, output_size, key=key_out)

    @property
    def name(self) -> str:
        return self.made_by

    def initial_state(self) -> Any:
        return tuple(layer.initial_state() for layer in self.layers)

    def __call__(
        self, state: Any, x: Float32[Array, "T inputs"], start: Bool[Array, "T"]
    ) -> tuple[Any, Float32[Array, "T outputs"]]:
        after = []
        x = linear(self.map_in, x)
        for layer, mixer, before in zip(self.layers, self.mixers, state, strict=True):
            layer_state, x = layer(before, x, start)
            after.append(layer_state)
            x = jax.nn.leaky_relu(jax.vmap(self.norm)(linear(mixer, x)))
        return tuple(after), linear(self.map_out, x)


class _Holding(Memory):
    """A layer of which it can be chosen for how long each unit holds what it is given, before training."""

    @abc.abstractmethod
    def holding(self, steps: Float32[Array, "size"]) -> Memory:
        """Return one in which what a unit was given fades by about a factor e in so many steps, at least 2."""


class _MinGRU(_Holding):
    """h_t = (1 - z_t) h_{t-1} + z_t c_t, gate z_t = sigmoid(W_z x_t + b_z) and candidate c_t = W_c x_t + b_c.

    The gate and the candidate know the input alone, so the recurrence is linear and runs as a parallel scan. It composes
    maps h -> a h + b with a in (0, 1): nothing is divided and nothing can overflow, so it needs no logarithms.
    """

    gate: eqx.nn.Linear
    candidate: eqx.nn.Linear

    def __init__(self, size: int, key: PRNGKeyArray) -> None:
        key_gate, key_candidate = jax.random.split(key)
        self.gate = eqx.nn.Linear(size, size, key=key_gate)
        self.candidate = eqx.nn.Linear(size, size, key=key_candidate)

    def holding(self, steps: Float32[Array, "size"]) -> Memory:
        return eqx.tree_at(lambda layer: layer.gate.bias, self, _gate_bias(steps))

    def initial_state(self) -> Float32[Array, "size"]:
        return jnp.zeros(self.gate.weight.shape[0])

    def __call__(
        self, state: Float32[Array, "size"], x: Float32[Array, "T size"], start: Bool[Array, "T"]
    ) -> tuple[Float32[Array, "size"], Float32[Array, "T size"]]:
        gate = linear(self.gate, x)
        keep, take = jax.nn.sigmoid(-gate), jax.nn.sigmoid(gate) * linear(self.candidate, x)
        elements = (start[:, None], keep, take)
        # The state is the sequence's first element: a map that forgets what it is given.
        first = (jnp.ones((1, 1), bool), jnp.zeros_like(state)[None], state[None])
        elements = jax.tree.map(lambda *parts: jnp.concatenate(parts), first, elements)
        _, _, hidden = jax.lax.associative_scan(self._compose, elements)
        return hidden[-1], hidden[1:]

    @staticmethod
    def _compose(left: Any, right: Any) -> Any:
        (left_start, left_keep, left_take), (start, keep, take) = left, right
        # Selected before it is multiplied: neither values nor gradients that are not finite get past a start.
        left_keep, left_take = jnp.where(start, 0.0, left_keep), jnp.where(start, 0.0, left_take)
        return left_start | start, keep * left_keep, take + keep * left_take


class _FeedForward(Memory):
    """Two linear maps with leaky ReLU between them. It remembers nothing."""

    widen: eqx.nn.Linear
    narrow: eqx.nn.Linear

    def __init__(self, size: int, width: int, key: PRNGKeyArray) -> None:
        key_widen, key_narrow = jax.random.split(key)
        self.widen = eqx.nn.Linear(size, width, key=key_widen)
        self.narrow = eqx.nn.Linear(width, size, key=key_narrow)

    def initial_state(self) -> tuple[()]:
        return ()

    def __call__(
        self, state: tuple[()], x: Float32[Array, "T size"], start: Bool[Array, "T"]
    ) -> tuple[tuple[()], Float32[Array, "T size"]]:
        return state, linear(self.narrow, jax.nn.leaky_relu(linear(self.widen, x)))


class _Memax(Memory):
    """A layer of memax: its arrays are leaves, the rest is static."""

    arrays: Any
    static: Any = eqx.field(static=True)

    def __init__(self, layer: Any) -> None:
        layer = eqx.tree_at(lambda layer: layer.algebra, layer, _Resettable(layer.algebra.algebra))
        self.arrays, self.static = eqx.partition(layer, eqx.is_array)

    @property
    def _layer(self) -> Any:
        return eqx.combine(self.arrays, self.static)

    def initial_state(self) -> Any:
        return self._layer.initialize_carry()

    def __call__(
        self, state: Any, x: Float32[Array, "T inputs"], start: Bool[Array, "T"]
    ) -> tuple[Any, Float32[Array, "T outputs"]]:
        states, y = self._layer(state, (x, start))
        return self._layer.latest_recurrent_state(states), y


class _LRU(_Memax, _Holding):
    """memax's LRU."""

    def holding(self, steps: Float32[Array, "size"]) -> Memory:
        # Eigenvalues exp(-1 / steps + i phase), which make up to one turn while they fade: how much of one is spread evenly,
        # by the golden ratio, and in no order.
        turns = (jnp.arange(len(steps)) + 0.5) * ((5**0.5 - 1) / 2) % 1
        parts = -jnp.log(steps), jnp.log(2 * jnp.pi * turns / steps), 0.5 * jnp.log(-jnp.expm1(-2 / steps))
        return eqx.tree_at(lambda lru: (lru.arrays.nu_log, lru.arrays.theta_log, lru.arrays.gamma_log), self, parts)


class _GRU(_Memax, _Holding):
    """memax's GRU, faster: only what depends on the step before is computed step by step.

    The maps of inputs and the weights' gradients are products over all steps. It has no forward-mode derivative (`jax.jvp`).
    """

    def holding(self, steps: Float32[Array, "size"]) -> Memory:
        return eqx.tree_at(lambda gru: gru.arrays.algebra.algebra.W_z.bias, self, _gate_bias(steps))

    def __call__(
        self, state: Any, x: Float32[Array, "T size"], start: Bool[Array, "T"]
    ) -> tuple[Any, Float32[Array, "T size"]]:
        hidden, started = state
        cell = self._layer.algebra.algebra
        maps = [cell.W_z, cell.W_r, cell.W_h]  # one product for all
        weights = jnp.concatenate([layer.weight for layer in maps])
        inputs = x @ weights.T + jnp.concatenate([layer.bias for layer in maps])
        gates = jnp.concatenate([cell.U_z.weight, cell.U_r.weight])
        after = _recur(hidden, gates, cell.U_h.weight, inputs, start)
        return (after[-1], started | start.any()), after


# With W x + b of update gate z, reset gate r and candidate c as inputs, and p = h_{t-1}, or 0 at a start:
# h_t = (1 - z) p + z c, where z, r = sigmoid(inputs + gates p) and c = tanh(inputs + candidate (r p)).
@jax.custom_vjp
def _recur(
    state: Float32[Array, "size"],
    gates: Float32[Array, "2*size size"],
    candidate: Float32[Array, "size size"],
    inputs: Float32[Array, "T 3*size"],
    start: Bool[Array, "T"],
) -> Float32[Array, "T size"]:
    return _recur_and_keep(state, gates, candidate, inputs, start)[0]


def _recur_and_keep(state: Any, gates: Any, candidate: Any, inputs: Any, start: Any) -> Any:
    size = len(state)
    # Transposed once, or else a CPU does it at every step.
    gates_t, candidate_t = jax.lax.optimization_barrier((gates.T, candidate.T))

    def step(hidden: Any, at: Any) -> Any:
        inputs, start = at
        before = jnp.where(start, 0.0, hidden)
        z, r = jnp.split(jax.nn.sigmoid(inputs[: 2 * size] + before @ gates_t), 2)
        c = jnp.tanh(inputs[2 * size :] + (r * before) @ candidate_t)
        hidden = (1 - z) * before + z * c
        return hidden, (hidden, before, z, r, c)

    _, (hidden, *kept) = jax.lax.scan(step, state, (inputs, start))
    return hidden, (gates, candidate, start, *kept)


def _recur_gradient(kept: Any, gradient: Float32[Array, "T size"]) -> Any:
    gates, candidate, start, before, z, r, c = kept

    def step_back(by_hidden: Any, at: Any) -> Any:
        gradient, start, before, z, r, c = at
        by_hidden += gradient
        by_candidate = by_hidden * z * (1 - c**2)
        by_reset = by_candidate @ candidate
        by_gates = jnp.concatenate([by_hidden * (c - before) * z * (1 - z), by_reset * before * r * (1 - r)])
        by_before = by_hidden * (1 - z) + by_reset * r + by_gates @ gates
        return jnp.where(start, 0.0, by_before), (by_gates, by_candidate)

    steps = gradient, start, before, z, r, c
    by_state, (by_gates, by_candidate) = jax.lax.scan(step_back, jnp.zeros_like(gradient[0]), steps, reverse=True)
    by_inputs = jnp.concatenate([by_gates, by_candidate], axis=1)
    by_start = np.zeros(start.shape, jax.dtypes.float0)
    return by_state, by_gates.T @ before, by_candidate.T @ (r * before), by_inputs, by_start


_recur.defvjp(_recur_and_keep, _recur_gradient)
_OWN: dict[str, type[_Memax]] = {"GRU": _GRU, "LRU": _LRU}  # models of memax that have something of our own


def _gate_bias(steps: Float32[Array, "size"]) -> Float32[Array, "size"]:
    """Return the bias with which a gate sigmoid(bias) takes in 1 / steps of what is new."""
    return -jnp.log(steps - 1)


class _Resettable(eqx.Module):
    """In place of memax's `Resettable`, which multiplies the past by zero at a start: NaN times zero is NaN. We select."""

    algebra: Any

    def __call__(self, carry: Any, element: Any) -> Any:
        (state, started), (x, start) = carry, element
        fresh = self.algebra.initialize_carry(None)
        state = jax.tree.map(lambda new, old: jnp.where(start, new, old), fresh, state)
        return self.algebra(state, x), started | start

    def initialize_carry(self, key: PRNGKeyArray | None = None) -> Any:
        return self.algebra.initialize_carry(key), jnp.zeros((), bool)


def _feed_forward(width: int, size: int, key: PRNGKeyArray, layers: int, input_size: int, output_size: int) -> Memory:
    key, key_layers = jax.random.split(key)
    made_layers = tuple(_FeedForward(size, width, key_layer) for key_layer in jax.random.split(key_layers, layers))
    return _Stack(made_layers, "none", size, input_size, output_size, key)


def _memax_layers(
    name: str, size: int, layers: int, key: PRNGKeyArray, window_size: int | None = None
) -> tuple[Memory, ...]:
    try:
        # Not at the top: importing memax starts JAX's backend. It makes arrays, which must not be tracers of who asks first.
        with jax.ensure_compile_time_eval():
            from memax.equinox.train_utils import get_residual_memory_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("popgym_arcade.baselines needs memax: pip install 'popgym-arcade[baselines]'") from error
    if size < 4:
        raise ValueError(f"size must be at least 4 for {name}, got {size}")
    if name == "Attention-RoPE" and size % 2:
        raise ValueError(f"size must be even for {name}, got {size}")
    options = {} if window_size is None else {name: {"window_size": checks.integer("window_size", window_size, 1)}}
    model: Any = get_residual_memory_model(
        model_name=name, input=size, hidden=size, output=size, num_layers=layers, key=key, layer_kwargs=options
    )
    kind = _OWN.get(name, _Memax)
    return tuple(kind(layer) for layer in model.layers)


def checked_name(memory: str, *others: str) -> str:
    """Return the name of a memory as `memory_names` spells it, or raise; the error names the closest.

    Args:
        memory: in any case, with - or _.
        others: names that are allowed, too.
    """
    if not isinstance(memory, str):
        raise TypeError(f"memory must be a name or a constructor, got {memory!r}")
    return checks.one_of("memory", memory.lower().replace("_", "-"), sorted((*memory_names(), *others)))
