"""All memories against the protocol: one scan or many steps, nothing past a start, nothing between environments."""

import functools
import subprocess
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.baselines.model.memory import Memory, count_parameters, make_memory, memory_names

ENVS, TIME, INPUTS, SIZE, OUTPUTS = 5, 7, 6, 16, 5
START = 3
FORGETFUL = ("mlp", "none")
# A rotation by the exponential of a matrix, for each frame in turn: compiling takes long.
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name == "spherical" else name for name in memory_names()]
# By scope pytest runs the tests of one memory one after the other, which so share their compiles.
of_each_memory = pytest.mark.parametrize("name", NAMES, scope="module")
DEEP = ("gru", "lru", "mingru")  # one layer compiles faster, and all layers are put together in one way


@functools.cache
def make(name: str) -> Memory:
    layers = 2 if name in DEEP else 1
    return make_memory(name, SIZE, jax.random.key(0), layers=layers, input_size=INPUTS, output_size=OUTPUTS)


@jax.jit
def call(memory: Memory, state: Any, x: jax.Array, start: jax.Array) -> Any:
    return jax.vmap(memory)(state, x, start)


@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles in half the time
def gradients(memory: Memory, state: Any, x: jax.Array, start: jax.Array, since: jax.Array) -> Any:
    """Differentiate what comes out since a frame, by memory, state and inputs."""
    whole, rest = eqx.partition(state, eqx.is_inexact_array)

    def loss(memory: Memory, whole: Any, x: jax.Array) -> jax.Array:
        _, y = memory(eqx.combine(whole, rest), x, start)
        return jnp.sum(jnp.where(jnp.arange(TIME)[:, None] >= since, y, 0.0) ** 2)

    return jax.grad(loss, argnums=(0, 1, 2), allow_int=True)(memory, whole, x)


def batched(memory: Memory) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (ENVS, *leaf.shape)), memory.initial_state())


def inputs(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(ENVS, TIME, INPUTS)).astype(np.float32)


def filled(state: Any, value: float) -> Any:
    return jax.tree.map(lambda leaf: leaf * value if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf, state)


def types(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)


def assert_same(first: Any, second: Any) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert np.array_equal(a, b, equal_nan=True)


@of_each_memory
def test_a_scan_equals_steps(name: str) -> None:
    memory, x = make(name), inputs()
    start = np.random.default_rng(1).random((ENVS, TIME)) < 0.25
    start[0] = False
    state = batched(memory)
    after, whole = call(memory, state, x, start)
    assert whole.shape == (ENVS, TIME, OUTPUTS) and whole.dtype == jnp.float32
    assert np.all(np.isfinite(whole))
    parts = []
    for t in range(TIME):
        assert types(state) == types(after)
        state, y = call(memory, state, x[:, t : t + 1], start[:, t : t + 1])
        parts.append(y)
    np.testing.assert_allclose(jnp.concatenate(parts, axis=1), whole, rtol=2e-4, atol=2e-5)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@of_each_memory
def test_nothing_passes_a_start(name: str) -> None:
    """Bit for bit, whatever was before: numbers, numbers that overflow, what is not finite; in the inputs or the state."""
    memory = make(name)
    start = np.zeros((ENVS, TIME), bool)
    start[:, START] = True
    state, x = batched(memory), inputs()
    after, y = call(memory, state, x, start)
    pasts = [inputs(seed=1)[0, :START], 1e30 * x[1, :START], np.nan, np.inf, -np.inf]
    other = x.copy()
    for i, past in enumerate(pasts):
        other[i, :START] = past
    other_after, other_y = call(memory, state, other, start)
    assert_same((after, y[:, START:]), (other_after, other_y[:, START:]))
    if name not in FORGETFUL:
        assert not np.array_equal(y[0, :START], other_y[0, :START])
    spoilt = filled(call(memory, state, other, np.zeros_like(start))[0], np.nan)
    spoilt_after, spoilt_y = call(memory, spoilt, other, start)
    assert_same((after, y[:, START:]), (spoilt_after, spoilt_y[:, START:]))
    # A start at the first frame of a call: the state is forgotten.
    start = start | (np.arange(TIME) == 0)
    assert_same(call(memory, state, x, start), call(memory, spoilt, x, start))


@of_each_memory
def test_environments_do_not_meet(name: str) -> None:
    memory, state, x = make(name), batched(make(name)), inputs()
    start = np.zeros((ENVS, TIME), bool)
    other, other_start = x.copy(), start.copy()
    other[1:], other_start[1:] = np.nan, True
    first = jax.tree.map(lambda leaf: leaf[0], call(memory, state, x, start))
    assert_same(first, jax.tree.map(lambda leaf: leaf[0], call(memory, state, other, other_start)))


@of_each_memory
def test_gradients(name: str) -> None:
    memory, x = make(name), inputs()[0]
    start = np.zeros(TIME, bool)
    by_memory, by_state, by_x = gradients(memory, memory.initial_state(), x, start, TIME - 1)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((by_memory, by_state, by_x)))
    assert np.any(by_x[:-1] != 0) == (name not in FORGETFUL), "a memory looks back"
    assert np.any(by_x[-1] != 0)
    start = np.arange(TIME) == START
    by_memory, by_state, by_x = gradients(memory, memory.initial_state(), x, start, START)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((by_memory, by_state, by_x)))
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(by_state))
    assert not np.any(by_x[:START]) and np.any(by_x[START:])


@of_each_memory
def test_leaves_are_float_arrays(name: str) -> None:
    for leaf in jax.tree.leaves(make(name)):
        assert isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32


@pytest.mark.parametrize("name", [name for name in memory_names() if name != "none"])
def test_none_has_the_capacity_of(name: str) -> None:
    for sizes in ({"input_size": 517, "output_size": 256}, {"layers": 1}):

        def count(memory: str, sizes: dict[str, int] = sizes, **options: Any) -> int:
            return count_parameters(jax.eval_shape(lambda: make_memory(memory, 512, jax.random.key(0), **sizes, **options)))

        assert count("none", capacity_of=name) == pytest.approx(count(name), rel=0.01)


def test_gru_is_that_of_memax() -> None:
    """What is computed in another order than by memax, values and gradients, is the same up to rounding."""
    memory: Any = make("gru")
    layer = memory.layers[0]
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(2, TIME, SIZE)).astype(np.float32)
    start = jnp.arange(TIME) == START
    hidden = rng.normal(size=SIZE).astype(np.float32)

    def outcome(layer: Any, hidden: jax.Array, x: jax.Array, call: Any) -> Any:
        state, y = call(layer, (hidden, jnp.zeros((), bool)), x, start)
        return jnp.sum(y * weights), (state, y)

    differentiate: Any = jax.jit(jax.grad(outcome, argnums=(0, 1, 2), has_aux=True), static_argnums=3)
    ours, theirs = (differentiate(layer, hidden, x, kind.__call__) for kind in type(layer).__mro__[:2])
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_names() -> None:
    assert len(memory_names()) == 24
    for name in ("lru", "LRU", "Lru"):
        assert_same(make_memory(name, 8, jax.random.key(0)), make_memory("lru", 8, jax.random.key(0)))
    assert_same(make_memory("LRU", 8, jax.random.PRNGKey(0)), make_memory("lru", 8, jax.random.key(0)))
    with pytest.raises(ValueError, match=r"unknown memory 'lsmt'; did you mean lstm"):
        make_memory("LSMT", 8, jax.random.key(0))


def test_equal_memories_share_a_compile() -> None:
    jitted: Any = jax.jit(lambda memory, x: memory(memory.initial_state(), x, jnp.zeros(TIME, bool)))
    for seed in range(2):
        jitted(make_memory("lru", 8, jax.random.key(seed), input_size=INPUTS), inputs()[0])
    assert jitted._cache_size() == 1


def test_the_first_trace_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """memax, which is imported late, makes arrays; as tracers of whoever asked first they would break what comes after."""
    for name in [name for name in sys.modules if name.split(".")[0] == "memax"]:
        monkeypatch.delitem(sys.modules, name)
    make = jax.jit(lambda seed, size: make_memory("lru", size, jax.random.key(seed)), static_argnums=1)
    for size in (8, 12, 12):
        assert count_parameters(make(0, size)) == count_parameters(make_memory("lru", size, jax.random.key(0)))


def test_window_size() -> None:
    """The last frame sees what lies within the window and nothing before it."""
    memory = make_memory("attention", 8, jax.random.key(0), input_size=INPUTS, layers=1, window_size=3)
    start = np.zeros(TIME, bool)
    *_, by_x = gradients(memory, memory.initial_state(), inputs()[0], start, TIME - 1)
    assert np.array_equal(np.any(by_x != 0, axis=-1), np.arange(TIME) >= TIME - 3)


def only_layer(name: str, horizon: int) -> Any:
    stack: Any = make_memory(name, 8, jax.random.key(0), layers=1, horizon=horizon)
    return stack.layers[0]


@pytest.mark.parametrize("name", ["gru", "mingru"])
def test_the_horizon_of_gates(name: str) -> None:
    """At first a unit takes in one part in so many of what is new: from one in 2 to one in as many as the horizon."""

    def first_state(horizon: int) -> np.ndarray:
        memory = only_layer(name, horizon)
        state, _ = memory(memory.initial_state(), jnp.zeros((1, 8)), jnp.ones(1, bool))
        return np.asarray(jax.tree.leaves(state)[0], np.float64)

    steps = np.geomspace(2, 512, 8)
    np.testing.assert_allclose(first_state(2) * 2, first_state(512) * steps, rtol=1e-4)


def test_the_horizon_of_an_lru() -> None:
    """Left alone, what a unit was given fades by a factor e in from 2 steps to as many as the horizon."""
    memory = only_layer("lru", 512)
    x = jnp.zeros((40, 8)).at[0].set(1.0)
    states = [memory(memory.initial_state(), x[:length], jnp.zeros(length, bool))[0] for length in (1, 40)]
    first, last = (np.abs(jax.tree.leaves(state)[1]) for state in states)
    np.testing.assert_allclose(last, first * np.exp(-39 / np.geomspace(2, 512, 8)), rtol=1e-3)


def test_mingru_is_its_recurrence() -> None:
    stack: Any = make_memory("mingru", 8, jax.random.key(0))
    memory = stack.layers[0]
    x = np.random.default_rng(0).normal(scale=30, size=(200, 8)).astype(np.float32)
    start = np.arange(200) % 70 == 69
    before = np.linspace(-1, 1, 8, dtype=np.float32)
    after, y = eqx.filter_jit(memory)(before, x, start)
    weights = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(memory)]
    gates, candidates = x @ weights[0].T + weights[1], x @ weights[2].T + weights[3]
    hidden = before.astype(np.float64)
    for t in range(200):
        gate = np.exp(-np.logaddexp(0.0, -gates[t]))
        hidden = (1 - gate) * (0.0 if start[t] else hidden) + gate * candidates[t]
        np.testing.assert_allclose(y[t], hidden, rtol=1e-4, atol=1e-4)
    assert np.array_equal(after, y[-1])


class Latest(Memory):
    """A user's own: the frame before."""

    size: int = eqx.field(static=True)

    def initial_state(self) -> Any:
        return jnp.zeros(self.size)

    def __call__(self, state: Any, x: jax.Array, start: jax.Array) -> Any:
        before = jnp.concatenate([state[None], x[:-1]])
        return x[-1], jnp.where(start[:, None], 0.0, before)


def test_a_constructor_of_ones_own() -> None:
    def construct(size: int, key: jax.Array, *, layers: int, input_size: int, output_size: int) -> Latest:
        assert (size, layers, input_size, output_size) == (8, 2, 6, 8)
        return Latest(input_size)

    memory = make_memory(construct, 8, jax.random.key(0), input_size=6)
    x = inputs()[0]
    _, y = memory(memory.initial_state(), jnp.asarray(x), jnp.zeros(TIME, bool))
    assert np.array_equal(y[1:], x[:-1])

    def not_a_memory(*_: Any, **__: Any) -> Any:
        return 3

    with pytest.raises(TypeError, match=r"must return a Memory, got int"):
        make_memory(not_a_memory, 8, jax.random.key(0))
    options: list[dict[str, Any]] = [{"window_size": 3}, {"horizon": 3}]
    for option in options:
        with pytest.raises(ValueError, match=r"bind its options to it"):
            make_memory(construct, 8, jax.random.key(0), **option)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("lru", 0), ValueError, r"size must be at least 1, got 0"),
        (("lru", 8.0), TypeError, r"size must be an int of at least 1, got 8.0"),
        (("lru", True), TypeError, r"size must be an int of at least 1, got True"),
        (("gdn", 3), ValueError, r"size must be at least 4 for GDN, got 3"),
        (("attention-rope", 9), ValueError, r"size must be even for Attention-RoPE, got 9"),
        ((3, 8), TypeError, r"memory must be a name or a constructor, got 3"),
    ],
)
def test_bad_arguments(arguments: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make_memory(*arguments, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lru", {"layers": 0}, r"layers must be at least 1"),
        ("lru", {"input_size": 0}, r"input_size must be at least 1"),
        ("lru", {"output_size": 0}, r"output_size must be at least 1"),
        ("lru", {"window_size": 3}, r"window_size is for stack, .*; lru has no window"),
        ("lru", {"horizon": 1}, r"horizon must be at least 2, got 1"),
        ("lstm", {"horizon": 100}, r"horizon is for gru, lru, mingru, not for lstm"),
        ("stack", {"window_size": 0}, r"window_size must be at least 1"),
        ("lru", {"capacity_of": "gru"}, r"capacity_of is for the memory 'none', not for lru"),
        ("none", {"capacity_of": "none"}, r"capacity_of must be another memory than 'none'"),
        ("none", {"capacity_of": "gro"}, r"unknown memory 'gro'; did you mean gru"),
    ],
)
def test_bad_options(name: str, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_memory(name, 8, jax.random.key(0), **options)


@pytest.mark.parametrize("missing", ["equinox", "memax"])
def test_a_missing_extra_is_one_line(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "import jax\n"
        "from popgym_arcade.baselines.model.memory import make_memory\n"
        "make_memory('mingru', 8, jax.random.key(0))\n"
        "make_memory('lru', 8, jax.random.key(0))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    line = f"popgym_arcade.baselines needs {missing}: pip install 'popgym-arcade[baselines]'"
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {line}"
