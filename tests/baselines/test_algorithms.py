"""PQN, PPO and DQN on a game as small as can be, whose best and whose memoryless returns are known."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.baselines.algorithm import Shard, Task
from popgym_arcade.baselines.dqn import DQN
from popgym_arcade.baselines.evaluation import evaluate, greedy
from popgym_arcade.baselines.ppo import PPO
from popgym_arcade.baselines.pqn import PQN
from popgym_arcade.baselines.q_learning import epsilon_greedy
from tests.tiny import Tiny

SIZE = 32
PQN_SETTINGS = {"learning_rate": 3e-3, "last_learning_rate": 3e-4, "total_timesteps": 60_000}
PPO_SETTINGS = {"learning_rate": 3e-3, "total_timesteps": 60_000}
SHARED: dict[str, Any] = {"num_envs": 16, "num_steps": 40, "epochs": 4, "minibatches": 4, "gamma": 0.9}


class Network(eqx.Module):
    """Sees one number of the frame, the arrow shown; remembers with a GRU, or not."""

    embed: eqx.nn.Linear
    cell: eqx.nn.GRUCell | None
    head: eqx.nn.Linear
    is_critic: bool = eqx.field(static=True)

    def __init__(self, key: jax.Array, has_memory: bool, is_critic: bool) -> None:
        keys = jax.random.split(key, 3)
        self.embed = eqx.nn.Linear(5, SIZE, key=keys[0])
        self.cell = eqx.nn.GRUCell(SIZE, SIZE, key=keys[1]) if has_memory else None
        self.head = eqx.nn.Linear(SIZE, 6 if is_critic else 5, key=keys[2])
        self.is_critic = is_critic

    def initial_state(self) -> Any:
        return () if self.cell is None else jnp.zeros(SIZE)

    def __call__(self, state: Any, obs: jax.Array, last_action: jax.Array, start: jax.Array) -> Any:
        features = jax.nn.relu(jax.vmap(self.embed)(jax.nn.one_hot(obs[:, 0, 0, 0].astype(jnp.int32) // 40, 5)))
        if self.cell is not None:
            cell = self.cell

            def step(state: jax.Array, x: Any) -> Any:
                state = cell(x[0], jnp.where(x[1], 0.0, state))
                return state, state

            state, features = jax.lax.scan(step, state, (features, start))
        output = jax.vmap(self.head)(features)
        return state, (output[:, :5], output[:, 5]) if self.is_critic else output


def begin(algorithm: Any, env: Any, network: Network, key: jax.Array) -> tuple[Any, Task]:
    """A learner, and what it learns."""
    params, structure = eqx.partition(network, eqx.is_inexact_array)
    task = Task(env, env.default_params, structure, key)
    return algorithm.init(params, task), task


def train(algorithm: Any, partial_obs: bool, has_memory: bool, updates: int, seed: int = 0) -> Any:
    env = Tiny(partial_obs=partial_obs, obs_size=64)
    network = Network(jax.random.key(seed), has_memory, isinstance(algorithm, PPO))
    learner, task = begin(algorithm, env, network, jax.random.key(seed + 1))
    update = jax.jit(lambda learner: algorithm.update(learner, task), donate_argnums=0)
    metrics: dict[str, Any] = {}
    for _ in range(updates):
        learner, metrics = update(learner)
    return task, learner, metrics


@pytest.mark.parametrize("kind", [PQN, PPO, DQN])
def test_policy_churn_is_what_an_update_changes(kind: Any) -> None:
    more: dict[str, Any] = {"replay_size": 1280} if kind is DQN else {}
    for rate, has_changed in ((1e-12, False), (1.0, True)):
        _, _, metrics = train(kind(**SHARED, **more, learning_rate=rate, total_timesteps=1e9), True, kind is PQN, 1)
        assert (float(metrics["policy_churn"]) > 0) == has_changed
        assert float(metrics["policy_churn"]) <= 1


@pytest.mark.parametrize("kind", [PQN, PPO, DQN])
def test_the_clock_may_count_as_an_end(kind: Any) -> None:
    more: dict[str, Any] = {"replay_size": 640} if kind is DQN else {}
    settings = SHARED | {"epochs": 1, "minibatches": 1}
    learned = [train(kind(**settings, **more, bootstrap_truncated=on), False, False, 1)[1].params for on in (True, False)]
    through, ended = (params.head.weight for params in learned)
    assert not np.array_equal(through, ended)


@pytest.mark.parametrize("kind", [PQN, PPO, DQN])
def test_steps_of_muon_go_equally_far_in_all_directions(kind: Any) -> None:
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = {"wide": (6, 20), "tall": (20, 6), "kernel": (3, 3, 2, 6), "bias": (7,)}
    weights = {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=True)}
    algorithm = kind(learning_rate=0.5, total_timesteps=1e9, muon=True)
    gradients = jax.tree.map(lambda weight: 1e-3 * weight**3, weights)

    optimizer = algorithm.optimizer()
    steps, _ = jax.jit(optimizer.update)(gradients, optimizer.init(weights), weights)
    for name, step in steps.items():
        assert float(jnp.sum(step * gradients[name])) < 0
        if name == "bias":
            np.testing.assert_allclose(jnp.abs(step), jnp.abs(step[0]), rtol=0.01)  # the first step of Adam
        else:
            matrix = np.asarray(step).reshape(-1, step.shape[-1])
            lengths = np.linalg.svd(matrix, compute_uv=False) / (0.5 * 0.2 * max(matrix.shape) ** 0.5)
            assert lengths.min() > 0.6 and lengths.max() < 1.3, lengths


def greedy_return(task: Task, learner: Any) -> float:
    """The mean return of the trained network's best actions."""
    network = task.network(learner.params)
    play = jax.jit(lambda key: evaluate(network, task.env, task.env_params, greedy, key, 64))
    return float(play(jax.random.key(9)).total.mean())


DQN_SETTINGS = PQN_SETTINGS | {"replay_size": 20_000}
MDP, MEMORY, NONE = (False, False), (True, True), (True, False)
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("algorithm", "case"),
    [
        *((PQN(**PQN_SETTINGS, **SHARED), case) for case in (MDP, MEMORY, NONE)),
        *((PPO(**PPO_SETTINGS, **SHARED), case) for case in (MDP, MEMORY, NONE)),
        (DQN(**DQN_SETTINGS, **SHARED, target_interval=2), MDP),
        (DQN(**DQN_SETTINGS, **SHARED, target_interval=2), MEMORY),
        pytest.param(DQN(**DQN_SETTINGS, **SHARED, target_interval=2), NONE, marks=SLOW),
        *(pytest.param(DQN(**DQN_SETTINGS, **SHARED, target_interval=0), case, marks=SLOW) for case in (MDP, MEMORY, NONE)),
    ],
    ids=lambda value: {MDP: "mdp", MEMORY: "memory", NONE: "none"}.get(value) or type(value).__name__.lower(),
)
def test_learning(algorithm: Any, case: tuple[bool, bool]) -> None:
    partial_obs, has_memory = case
    # Without memory the arrow is known in the first frame alone; what is guessed then is right once in four times.
    low, high = {MDP: (0.99, 1.01), MEMORY: (0.95, 1.01), NONE: (0.2, 0.5)}[case]
    task, learner, metrics = train(algorithm, partial_obs, has_memory, updates=90)
    reached = greedy_return(task, learner)
    assert low <= reached <= high, (reached, metrics)


def test_an_update_is_a_function_of_its_learner() -> None:
    algorithm = PQN(**SHARED)
    env = Tiny(partial_obs=True, obs_size=64)
    network = Network(jax.random.key(0), True, False)
    begun, task = begin(algorithm, env, network, jax.random.key(1))
    update = jax.jit(lambda learner: algorithm.update(learner, task))
    learner, _ = update(begun)
    jax.tree.map(np.testing.assert_array_equal, update(learner), update(learner))
    again, _ = update(update(begun)[0])
    jax.tree.map(np.testing.assert_array_equal, again, update(learner)[0])
    assert not np.array_equal(learner.actors.obs, begun.actors.obs)


def test_several_seeds_train_in_one_program() -> None:
    algorithm = PPO(**{**SHARED, "num_envs": 4, "num_steps": 8})
    env = Tiny(obs_size=64)
    keys = jax.random.split(jax.random.key(0), 3)

    def run(key: jax.Array) -> Any:
        return algorithm.update(*begin(algorithm, env, Network(key, True, True), key))[0].params

    together = jax.jit(jax.vmap(run))(keys)
    alone = jax.jit(run)(keys[1])
    for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one[1], other, atol=1e-5)


def test_schedules_count_environment_steps() -> None:
    algorithm = PQN(epsilon_steps=1000)
    q = jnp.array([0.0, 0, 0, 0, 1])
    keys = jax.random.split(jax.random.key(0), 4000)
    for steps, share in ((0, 1.0), (500, 0.525), (1000, 0.05), (5000, 0.05)):
        epsilon = algorithm.epsilon_at(jnp.int32(steps))
        actions = jax.vmap(lambda key, epsilon=epsilon: epsilon_greedy(key, q, epsilon))(keys)
        assert np.mean(np.asarray(actions) != 4) == pytest.approx(0.8 * share, abs=0.03)


def test_the_entropy_bonus_falls_if_it_is_told_to() -> None:
    weights = [
        PPO(total_timesteps=1000, ent_coef=0.1, last_ent_coef=0.02).ent_coef_at(steps) for steps in (0, 500, 1000, 2000)
    ]
    np.testing.assert_allclose(weights, [0.1, 0.06, 0.02, 0.02], rtol=1e-6)
    with pytest.raises(ValueError, match="must not be negative"):
        PPO(last_ent_coef=-0.1)
    np.testing.assert_allclose([PPO(ent_coef=0.1).ent_coef_at(steps) for steps in (0, 10**7)], 0.1, rtol=1e-6)


@pytest.mark.parametrize(("has_memory", "complaint"), [(True, "num_envs, as"), (False, "num_envs \\* num_steps")])
def test_minibatches_of_one_size(has_memory: bool, complaint: str) -> None:
    algorithm = PQN(**{**SHARED, "num_envs": 6, "num_steps": 7})
    with pytest.raises(ValueError, match=f"{complaint}.* must be a multiple of minibatches"):
        algorithm.check(Network(jax.random.key(0), has_memory, False), Shard())
