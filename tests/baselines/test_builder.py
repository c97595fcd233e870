"""The networks: their sizes, their calling convention, and that episodes and environments do not meet in them."""

import functools
import io
import subprocess
import sys
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.baselines.model.builder import ActorCritic, ActorCriticRNN, QNetwork, QNetworkRNN
from popgym_arcade.baselines.model.encoder import PatchEncoder
from popgym_arcade.baselines.model.memory import count_parameters

TIME, ACTIONS = 6, 5
SMALL: Any = {"obs_size": 64, "encoder": functools.partial(PatchEncoder, width=2, features=8), "hidden_size": 8}
RECURRENT: Any = {**SMALL, "memory_size": 8, "layers": 1}
MAKERS = {
    "QNetwork": lambda key: QNetwork(ACTIONS, key, **SMALL),
    "QNetworkRNN": lambda key: QNetworkRNN(ACTIONS, key, "gru", **RECURRENT),
    "QNetworkRNN none": lambda key: QNetworkRNN(ACTIONS, key, "none", **RECURRENT),
    "ActorCritic": lambda key: ActorCritic(ACTIONS, key, **SMALL),
    "ActorCriticRNN": lambda key: ActorCriticRNN(ACTIONS, key, "mingru", **RECURRENT),
}


@functools.cache
def make(name: str) -> Any:
    return MAKERS[name](jax.random.key(0))


def sequence(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    obs = random.integers(0, 256, (TIME, 64, 64, 3), np.uint8)
    return obs, random.integers(0, ACTIONS, TIME, np.int32), np.arange(TIME) == 3


@jax.jit
def call(network: Any, state: Any, obs: Any, last_action: Any, start: Any) -> Any:
    return network(state, obs, last_action, start)


def assert_same(first: Any, second: Any) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)


@pytest.mark.parametrize(
    ("make_network", "parameters"),
    [
        (lambda rng: QNetwork(5, rng), 704_901),
        (lambda rng: QNetworkRNN(5, rng, "gru"), 4_577_413),
        (lambda rng: QNetworkRNN(5, rng, "lru"), 3_529_861),
        (lambda rng: ActorCritic(5, rng), 704_901 + 257),
        (lambda rng: ActorCriticRNN(5, rng, "lru"), 3_529_861 + 257),
    ],
)
def test_parameters_are_those_of_the_paper(make_network: Any, parameters: int) -> None:
    for rng in (jax.random.key(0), jax.random.PRNGKey(0)):
        assert count_parameters(jax.eval_shape(make_network, rng)) == parameters


def test_what_a_network_tells_of_itself() -> None:
    names = {"QNetwork": "none", "QNetworkRNN": "gru", "QNetworkRNN none": "none", "ActorCriticRNN": "mingru"}
    for name, memory in names.items():
        assert make(name).memory.name == memory and make(name).obs_size == 64


@pytest.mark.parametrize("rival", ["lru", "gru", "mingru", "gdn", "fart", "attention-rope"])
def test_none_has_equal_capacity(rival: str) -> None:
    def count(*args: Any, **options: Any) -> int:
        return count_parameters(jax.eval_shape(lambda: QNetworkRNN(5, jax.random.key(0), *args, **options)))

    assert count("none", capacity_of=rival) == pytest.approx(count(rival), rel=0.01)


def test_defaults() -> None:
    rng = jax.random.PRNGKey(0)
    network = QNetworkRNN(5, rng, "lru")
    _, q = call(
        network, network.initial_state(), np.zeros((2, 128, 128, 3), np.uint8), np.zeros(2, np.int32), np.ones(2, bool)
    )
    assert q.shape == (2, 5) and q.dtype == jnp.float32 and np.all(np.isfinite(q))


@pytest.mark.parametrize("name", MAKERS)
def test_calling_convention(name: str) -> None:
    network, arguments = make(name), sequence()
    state, answers = call(network, network.initial_state(), *arguments)
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), answers)
    per_action, per_frame = ((TIME, ACTIONS), jnp.float32), ((TIME,), jnp.float32)
    assert shapes == (per_action if name.startswith("Q") else (per_action, per_frame))
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, network.initial_state())
    # One call over a sequence equals calls over its frames.
    state = network.initial_state()
    for t in range(TIME):
        state, answer = call(network, state, *(argument[t : t + 1] for argument in arguments))
        jax.tree.map(lambda a, b, t=t: np.testing.assert_allclose(a[0], b[t], rtol=1e-4, atol=1e-5), answer, answers)


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_passes_a_start(name: str) -> None:
    network, (obs, last_action, start) = make(name), sequence()
    other_obs, other_action, _ = sequence(seed=1)
    other_obs[3:], other_action[4:] = obs[3:], last_action[4:]
    other_action[3] = (last_action[3] + 1) % ACTIONS  # it led out of the episode before
    first = call(network, network.initial_state(), obs, last_action, start)
    second = call(network, network.initial_state(), other_obs, other_action, start)
    rest = jax.tree.map(lambda leaf: leaf[3:], (first[1], second[1]))
    assert_same((first[0], rest[0]), (second[0], rest[1]))


@pytest.mark.parametrize("name", MAKERS)
def test_who_sees_the_last_action(name: str) -> None:
    network, (obs, last_action, start) = make(name), sequence()
    _, answers = call(network, network.initial_state(), obs, last_action, start)
    other_action = np.where(np.arange(TIME) == 1, (last_action + 1) % ACTIONS, last_action)
    _, others = call(network, network.initial_state(), obs, other_action, start)
    first, second = jax.tree.leaves(answers)[0], jax.tree.leaves(others)[0]
    assert np.array_equal(first[1], second[1]) == (not network.sees_last_action)
    assert np.array_equal(first[2], second[2]) == (name not in ("QNetworkRNN", "ActorCriticRNN"))


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_reach_all_parameters(name: str) -> None:
    network, arguments = make(name), tuple(map(jnp.asarray, sequence()))

    def loss(network: Any) -> jax.Array:
        answers = jax.tree.leaves(network(network.initial_state(), *arguments)[1])
        return sum((jnp.sum(jnp.sin(leaf)) for leaf in answers), jnp.zeros(()))

    gradient = jax.jit(jax.grad(loss))(network)
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(leaf)) and np.any(leaf != 0)


@pytest.mark.parametrize("name", MAKERS)
def test_serialisation(name: str) -> None:
    network, other = make(name), MAKERS[name](jax.random.key(1))
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, network)
    file.seek(0)
    assert_same(eqx.tree_deserialise_leaves(file, other), network)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(network))


def test_a_batch_of_environments_is_one_batch_for_the_encoder() -> None:
    """The convolutions become one product each, over all frames of all environments."""
    network = QNetworkRNN(ACTIONS, jax.random.key(0), "gru", memory_size=8, layers=1, hidden_size=8)
    envs, time = 3, 2
    state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (envs, *leaf.shape)), network.initial_state())
    obs = np.random.default_rng(0).integers(0, 256, (envs, time, 128, 128, 3), np.uint8)
    arguments = (state, obs, np.zeros((envs, time), np.int32), np.ones((envs, time), bool))
    batched = jax.jit(lambda network, *arguments: jax.vmap(network)(*arguments))
    program: Any = batched.lower(network, *arguments).compile()
    lines = program.as_text().splitlines()
    rows = envs * time * 62 * 62
    assert any(f"f32[{rows},64]" in line and " dot(" in line for line in lines)
    assert not any("lhs_batch_dims" in line and "64,75" in line for line in lines)
    _, q = batched(network, *arguments)
    for env in range(envs):
        _, alone = call(network, network.initial_state(), *(argument[env] for argument in arguments[1:]))
        np.testing.assert_allclose(q[env], alone, rtol=1e-4, atol=1e-5)


def test_many_networks_at_once() -> None:
    """One network per seed, by vmap over keys and then over networks."""
    keys = jax.random.split(jax.random.key(0), 3)
    networks = jax.vmap(lambda key: QNetworkRNN(ACTIONS, key, "gru", **RECURRENT))(keys)
    _, q = jax.jit(jax.vmap(lambda network: network(network.initial_state(), *map(jnp.asarray, sequence()))))(networks)
    assert q.shape == (3, TIME, ACTIONS) and not np.array_equal(q[0], q[1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda key: QNetwork(0, key), ValueError, r"num_actions must be at least 1, got 0"),
        (lambda key: QNetwork(cast(Any, 5.0), key), TypeError, r"num_actions must be an int of at least 1, got 5.0"),
        (lambda key: QNetwork(5, key, obs_size=63), ValueError, r"obs_size must be from 64 to 512, got 63"),
        (
            lambda key: QNetwork(5, key, encoder="cnov"),
            ValueError,
            r"unknown encoder 'cnov'; did you mean conv, patch or keypoint\?",
        ),
        (lambda key: QNetwork(5, key, encoder=cast(Any, 3)), TypeError, r"encoder must be a name or a constructor, got 3"),
        (lambda key: QNetwork(5, key, hidden_size=0), ValueError, r"hidden_size must be at least 1"),
        (lambda key: QNetworkRNN(0, key, "lru"), ValueError, r"num_actions must be at least 1"),
        (lambda key: QNetworkRNN(5, key, "lur"), ValueError, r"unknown memory 'lur'; did you mean lru"),
        (lambda key: ActorCriticRNN(5, key, "lru", hidden_size=0), ValueError, r"hidden_size must be at least 1"),
        (lambda key: ActorCriticRNN(5, key, "lru", memory_size=0), ValueError, r"size must be at least 1"),
    ],
)
def test_bad_arguments(construct: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        construct(jax.random.key(0))


@pytest.mark.usefixtures("unchecked")
def test_bad_calls() -> None:
    network, (obs, last_action, start) = make("QNetworkRNN"), sequence()
    state = network.initial_state()
    with pytest.raises(ValueError, match=r"start must have the shape \[6\], got \[5\]"):
        call(network, state, obs, last_action, start[1:])
    with pytest.raises(TypeError, match=r"start must be of dtype bool, got float32"):
        call(network, state, obs, last_action, start.astype(np.float32))
    with pytest.raises(TypeError, match=r"last_action must be of dtype int32, got float32"):
        call(network, state, obs, last_action.astype(np.float32), start)


def test_import_starts_no_backend() -> None:
    code = (
        "import popgym_arcade.baselines.model.builder\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], timeout=120, check=True)
