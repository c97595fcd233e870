"""The reference players, against the figures that are written down of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import popgym_arcade
from benchmarks import references
from popgym_arcade import players, scores
from popgym_arcade.environment import Environment
from popgym_arcade.players import reference
from tests.tiny import Tiny

IDS = popgym_arcade.registered_envs
SEERS = {
    "random": players.random_player,
    "blind": players.blind_player,
    "memoryless": players.memoryless_player,
    "memory": players.memory_player,
}


def test_every_game_has_all_of_them() -> None:
    assert {path.stem for path in reference.FOUND.glob("*.npz")} == set(IDS)
    for env_id in IDS:
        env, params = popgym_arcade.make(env_id)
        assert scores.version(env_id) == env.version, f"{env_id}: measure it again, `benchmarks/references.py measure`"
        found = scores.references(env_id)
        assert found.keys() == {*scores.PLAYERS, "best"}
        for figures in found.values():
            assert figures.episodes >= 1_000
            assert -1 - 1e-5 <= figures.lowest <= figures.mean <= figures.highest <= 1 + 1e-5
            assert -1 <= figures.low <= figures.mean <= figures.high <= 1
            assert 1 <= figures.mean_length <= params.max_steps_in_episode


@pytest.mark.parametrize("env_id", IDS)
def test_memory_pays(env_id: str) -> None:
    """Promise 6, by the figures written down; slow tests measure them again."""
    found = scores.references(env_id)
    for player in ("blind", "memoryless"):
        assert found["memory"].mean - found[player].mean >= 0.3


@pytest.mark.parametrize("partial_obs", [False, True])
@pytest.mark.parametrize("env_id", IDS)
def test_their_memories_keep_their_types(env_id: str, partial_obs: bool) -> None:
    env, _ = popgym_arcade.make(env_id, partial_obs=partial_obs)
    glimpse = jax.eval_shape(lambda key: env.glimpse(env.initial_state(key, env.default_params)), jax.random.key(0))
    for make_player in SEERS.values():
        player = make_player(env)
        memory, action = jax.eval_shape(player.act, jax.random.key(0), player.memory, glimpse)
        assert jax.tree.structure(memory) == jax.tree.structure(player.memory)
        for after, before in zip(jax.tree.leaves(memory), jax.tree.leaves(player.memory), strict=True):
            assert _type(after) == _type(jnp.asarray(before))
        assert _type(action) == ((), np.int32)


def _type(leaf: Any) -> Any:
    return leaf.shape, leaf.dtype


def _measured_again(env: Environment[Any, Any], player: players.Player, written: scores.Reference, episodes: int) -> None:
    """Other episodes, fewer of them, agree within five standard errors and 0.01, for what is too rare to show in them."""
    found = references.measure(env, player, episodes, seed=5)
    error = (written.high - written.low) / 3.92 * np.sqrt(written.episodes)
    tolerance = 5 * error * np.sqrt(1 / written.episodes + 1 / episodes)
    assert found["mean"] == pytest.approx(written.mean, abs=tolerance + 0.01)


@pytest.mark.parametrize("name", SEERS)
@pytest.mark.parametrize("env_id", ["NavigatorEasy", "AutoEncodeEasy"])
def test_figures_hold(env_id: str, name: str) -> None:
    env, _ = popgym_arcade.make(env_id, partial_obs=True)
    _measured_again(env, SEERS[name](env), scores.references(env_id)[name], 200)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEERS)
@pytest.mark.parametrize("env_id", IDS)
def test_all_figures_hold(env_id: str, name: str) -> None:
    env, _ = popgym_arcade.make(env_id, partial_obs=True)
    _measured_again(env, SEERS[name](env), scores.references(env_id)[name], 200)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", IDS)
def test_the_memory_player_is_the_best_in_the_mdp_too(env_id: str) -> None:
    env, _ = popgym_arcade.make(env_id)
    found = scores.references(env_id)
    _measured_again(env, players.memory_player(env), found["best"], 200)
    assert found["best"].mean >= found["memory"].low
    assert found["expert"].mean >= found["best"].low


def test_games_of_others_have_none() -> None:
    env = Tiny()
    for make_player in (players.blind_player, players.memoryless_player, players.memory_player):
        with pytest.raises(LookupError, match=r"Tiny.*CartPole"):
            make_player(env)


def test_a_player_is_given_glimpses_alone() -> None:
    env, _ = popgym_arcade.make("NavigatorEasy", partial_obs=True)
    given = []

    def act(key: Any, memory: Any, glimpse: Any) -> Any:
        given.append(type(glimpse).__name__)
        return memory, jnp.int32(4)

    episode = players.play(env, players.Player((), act), jax.random.key(0))
    assert set(given) == {"NavigatorGlimpse"}
    assert episode.length == 64
