"""The memory player of BattleShip."""

import jax
import numpy as np
import pytest

import popgym_arcade
from popgym_arcade.environments.battleship import HIT, MISS, SEA
from popgym_arcade.players.hunting import ship_chances
from tests.players.boards import last_states


def _marks(text: str) -> np.ndarray:
    return np.array([["-ox".index(mark) for mark in line] for line in text.split()])


@pytest.fixture(scope="module")
def fleets() -> np.ndarray:
    """Fleets of BattleShipEasy by the rules, bool[100_000, 8, 8]."""
    env, params = popgym_arcade.make("BattleShipEasy")
    keys = jax.random.split(jax.random.key(0), 100_000)
    return np.asarray(jax.jit(jax.vmap(lambda key: env.initial_state(key, params).ships))(keys))


@pytest.mark.parametrize("shots", [0, 3, 6, 9])
def test_the_belief_agrees_with_the_fleets_that_are_left(fleets: np.ndarray, shots: int) -> None:
    rng = np.random.default_rng(shots)
    for fleet in fleets[:5]:
        seen = np.zeros((8, 8), bool)
        seen.flat[rng.permutation(64)[:shots]] = True
        left = fleets[np.all(fleets[:, seen] == fleet[seen], 1)]
        if len(left) >= 500:
            found = ship_chances(np.where(seen, np.where(fleet, HIT, MISS), SEA))
            assert np.sum(found) == pytest.approx(12, abs=1e-4)
            np.testing.assert_allclose(found, left.mean(0), atol=0.1)
            assert np.sqrt(np.mean((found - left.mean(0)) ** 2)) < 0.03


def test_the_belief_knows_what_follows() -> None:
    four = _marks("-------- -------- --xxxx-- -------- -------- -------- -------- --------")
    found = ship_chances(four)
    around = np.zeros((8, 8), bool)
    around[1:4, 1:7] = True
    np.testing.assert_array_equal(found[around], four[around] == HIT)  # the longest ship is sunk, nothing touches it
    begun = ship_chances(_marks("-------- ---o---- --oxo--- -------- -------- -------- -------- --------"))
    assert begun[3, 3] == pytest.approx(1)  # there is no other way to go on
    assert begun[3, 2] == begun[3, 4] == 0
    unlikely = ship_chances(_marks("xxxx---- -------- xxx----- -------- xx------ -------- xxx----- --------"))
    np.testing.assert_array_equal(unlikely, np.add.outer([4, 0, 3, 0, 2, 0, 3, 0], np.zeros(8)) > np.arange(8))


def test_it_plays_well_in_both_views() -> None:
    mdp, _ = popgym_arcade.make("BattleShipEasy")
    ends, others = last_states(mdp, 24), last_states(mdp.twin, 24)
    np.testing.assert_array_equal(ends.wasted, np.sum(ends.shots & ~ends.ships, (1, 2)))  # never twice at a cell
    assert np.mean(ends.score) > 72
    assert jax.tree.all(jax.tree.map(np.array_equal, ends, others))  # memory makes up for all that the POMDP hides
