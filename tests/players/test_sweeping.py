"""The memory player of MineSweeper."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import popgym_arcade
from popgym_arcade import players
from popgym_arcade.environment import Action
from popgym_arcade.environments import minesweeper
from popgym_arcade.environments.minesweeper import COVERED, MineSweeperGlimpse
from popgym_arcade.players.sweeping import mine_chances
from tests.players.boards import last_states


def _all_boards(side: int, mines: int) -> tuple[np.ndarray, np.ndarray]:
    """All ways to lay the mines, and the numbers that belong to them: both [boards, side, side]."""
    laid = np.array(list(itertools.combinations(range(side**2), mines)))
    boards = np.zeros((len(laid), side**2), bool)
    np.put_along_axis(boards, laid, True, 1)
    boards = boards.reshape(-1, side, side)
    padded = np.pad(boards, ((0, 0), (1, 1), (1, 1))).astype(int)
    shifted = [padded[:, row : row + side, col : col + side] for row in range(3) for col in range(3)]
    return boards, np.sum(shifted, 0)


@pytest.mark.parametrize(("side", "mines"), [(4, 3), (4, 6), (5, 4)])
def test_the_belief_is_exact(side: int, mines: int) -> None:
    boards, numbers = _all_boards(side, mines)
    rng = np.random.default_rng(0)
    for uncovered in range(side**2 - mines):
        truth = rng.integers(len(boards))
        seen = np.zeros(side**2, bool)
        seen[rng.permutation(np.flatnonzero(~boards[truth]))[:uncovered]] = True
        seen = seen.reshape(side, side)
        agree = ~np.any(boards[:, seen], 1) & np.all(numbers[:, seen] == numbers[truth, seen], 1)
        found = mine_chances(np.where(seen, numbers[truth], COVERED), mines)
        np.testing.assert_allclose(found, boards[agree].mean(0), atol=1e-6)


def test_it_stops_where_a_guess_does_not_pay() -> None:
    env, params = popgym_arcade.make("MineSweeperEasy", partial_obs=False)
    player = players.memory_player(env, params)
    act = jax.jit(player.act)
    mines = np.zeros((4, 4), bool)
    mines[[0, 0, 1], [0, 2, 2]] = True
    numbers = minesweeper._numbered(jnp.asarray(mines)).astype(jnp.int32)

    def action(covered: np.ndarray) -> int:
        field = jnp.where(covered, COVERED, numbers)
        zero = jnp.zeros((), jnp.int32)
        seen = MineSweeperGlimpse(score=zero, cursor=jnp.zeros(2, jnp.int32), repeats=zero, field=field)
        return int(act(jax.random.key(0), player.memory, seen)[1])

    # Two mines are known, the third is in one of the first two cells, and nothing tells in which.
    last = mines.copy()
    last[0, 1] = True
    chances = mine_chances(jnp.where(last, COVERED, numbers), 3)
    np.testing.assert_allclose(chances[last], [0.5, 0.5, 1, 1])
    assert action(last) != Action.FIRE
    # With less to lose it guesses: where one number is seen, 2, the cell under the cursor is a mine in one case of ten.
    first = np.ones((4, 4), bool)
    first[1, 3] = False
    assert mine_chances(jnp.where(first, COVERED, numbers), 3)[0, 0] == pytest.approx(0.1)
    assert action(first) == Action.FIRE


def test_it_plays_well_in_both_views() -> None:
    mdp, _ = popgym_arcade.make("MineSweeperEasy")
    ends, others = last_states(mdp, 200), last_states(mdp.twin, 200)
    assert not np.any(ends.repeats)  # never twice at a cell
    assert np.mean(ends.score) > 78
    assert jax.tree.all(jax.tree.map(np.array_equal, ends, others))  # memory makes up for all that the POMDP hides
