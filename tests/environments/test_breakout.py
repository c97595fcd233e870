import collections
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.environments import breakout
from popgym_arcade.environments.breakout import COLS, ROWS, WALL_ROWS, Breakout
from popgym_arcade.testing import Decoder, Resampler, read_grid, read_text
from tests.environments import contract

REWARDS = np.array([15, 13, 11, 9, 7, 5]) / 600
WALL = np.s_[1:7]


def decoder(env: Breakout) -> Decoder:
    screen, grid = env._screen

    def decode(frame: np.ndarray) -> dict[str, Any]:
        glyphs = read_grid(grid, frame)
        bricks = (glyphs >= breakout._BRICK) & (glyphs < breakout._PADDLE_LEFT)
        rows = np.arange(ROWS)[:, None] - 1 + breakout._BRICK
        assert np.array_equal(bricks, glyphs == np.where((rows >= 1) & (rows <= WALL_ROWS), rows, -1))
        ends = np.argwhere((glyphs == breakout._PADDLE_LEFT) | (glyphs == breakout._PADDLE_RIGHT))
        assert ends[1, 1] - ends[0, 1] == env.paddle_width - 1
        assert np.sum(glyphs == breakout._PADDLE) == env.paddle_width - 2
        balls = np.argwhere(glyphs >= breakout._MOVING_BALL)
        assert len(balls) == 1
        down, right = divmod(glyphs[*balls[0]] - breakout._MOVING_BALL, 2)
        return {
            "score": read_text(screen.score_readout, frame) - 999,
            "paddle": ends[0, 1],
            "ball": balls[0],
            "direction": np.array([2 * down - 1, 2 * right - 1]),
            "bricks": bricks[WALL],
        }

    return decode


def resampler(env: Breakout) -> Resampler:
    def resample(key: jax.Array, state: Any) -> Any:
        key_side, key_row, key_col = jax.random.split(key, 3)
        right = 2 * jax.random.bernoulli(key_side).astype(jnp.int32) - 1
        row, col = jax.random.randint(key_row, (), 0, ROWS), jax.random.randint(key_col, (), 0, COLS)
        falls = state.direction[0] > 0
        return state.replace(
            ball=jnp.where(falls, jnp.stack([row, col]), state.ball), direction=state.direction.at[1].set(right)
        )

    return resample


@pytest.mark.parametrize("difficulty", Breakout.difficulties)
def test_contract(difficulty: str) -> None:
    contract.check(Breakout(difficulty=difficulty), decoder, resampler)


class Court:
    """Second implementation of the ball's flight."""

    def __init__(self, bricks: np.ndarray, ball: Any, direction: Any) -> None:
        self.bricks = {(int(row) + 1, int(col)) for row, col in np.argwhere(bricks)}
        self.row, self.col = map(int, ball)
        self.down, self.right = map(int, direction)

    def fly(self, paddle: range) -> str:
        if self.col + self.right not in range(10):
            self.right = -self.right
        if self.row + self.down < 0:
            self.down = 1
        ahead = self.row + self.down, self.col + self.right
        if ahead in self.bricks:
            self.bricks.remove(ahead)
            outcome = "brick"
        elif ahead[0] == 19:
            outcome = "caught" if ahead[1] in paddle else "lost"
        else:
            outcome = "air"
        if outcome in ("brick", "caught"):
            self.down = -self.down
            if (self.row, ahead[1]) not in self.bricks:
                self.col = ahead[1]
        else:
            self.row, self.col = ahead
        return outcome

    @property
    def wall(self) -> np.ndarray:
        return np.array([[(row, col) in self.bricks for col in range(10)] for row in range(1, 7)])


@pytest.mark.parametrize("difficulty", Breakout.difficulties)
def test_rules(difficulty: str) -> None:
    env = Breakout(difficulty=difficulty)
    outcomes = collections.Counter()
    for step in contract.rollout(env, episodes=24):
        court = Court(step.before.bricks, step.before.ball, step.before.direction)
        paddle = int(step.before.paddle) + {2: -1, 3: 1}.get(step.action, 0)
        paddle = min(max(paddle, 0), 10 - env.paddle_width)
        outcome = court.fly(range(paddle, paddle + env.paddle_width))
        outcomes[outcome] += 1
        outcomes["top"] += court.down > step.before.direction[0] and outcome == "air"
        outcomes["side"] += court.right != step.before.direction[1]
        outcomes["stay"] += (court.row, court.col) == tuple(step.before.ball)
        loss = len(court.bricks) / 60 if outcome == "lost" else 0.0
        hit = step.before.bricks & ~court.wall
        assert step.after.paddle == paddle
        assert tuple(step.after.ball) == (court.row, court.col)
        assert tuple(step.after.direction) == (court.down, court.right)
        assert np.array_equal(step.after.bricks, court.wall)
        assert step.reward == pytest.approx(hit.sum(1) @ REWARDS - loss)
        assert step.terminated == (outcome == "lost" or not court.bricks)
        assert step.truncated == (not step.terminated and step.before.time == 2999)
        assert step.after.score == contract.percent((~court.wall).sum(1) @ REWARDS - loss)
    assert all(outcomes[name] for name in ("air", "brick", "side", "caught", "lost"))


@pytest.mark.parametrize("difficulty", Breakout.difficulties)
def test_whoever_catches_the_ball_clears_the_wall(difficulty: str) -> None:
    """The expert's games from all 20 starts, against those of a paddle as wide as the board."""
    env = Breakout(difficulty=difficulty)
    cases = list(itertools.product(range(10), (-1, 1)))
    key = jax.random.key(0)

    @jax.jit
    @jax.vmap
    def play(col: jax.Array, right: jax.Array) -> Any:
        state = env.reset(key)[1]
        state = state.replace(ball=state.ball.at[1].set(col), direction=state.direction.at[1].set(right))

        def turn(state: Any, number: Any) -> Any:
            _, state, reward, _, info = env.step_env(key, state, env.expert_action(key, state, env.default_params))
            return state, (state.ball, reward, info["terminated"], state.score)

        return jax.lax.scan(turn, state, np.arange(2_600))[1]

    games = jax.tree.map(np.asarray, play(*jnp.asarray(cases, jnp.int32).T))
    lengths = []
    for (col, right), balls, rewards, terminated, scores in zip(cases, *games, strict=True):
        court = Court(np.ones((6, 10), bool), (13, col), (-1, right))
        flight = []
        while court.bricks:
            assert court.fly(range(10)) != "lost"
            flight.append((court.row, court.col))
        end = len(flight)
        lengths.append(end)
        assert np.array_equal(balls[:end], flight)
        assert terminated.argmax() == end - 1
        assert rewards[:end].sum() == pytest.approx(1, abs=1e-5)
        assert scores[end - 1] == 100
    assert (min(lengths), max(lengths)) == (1318, 2543)


@pytest.mark.parametrize("difficulty", Breakout.difficulties)
def test_starts(difficulty: str) -> None:
    env = Breakout(difficulty=difficulty)
    states = contract.starts(env, 40_000)
    assert np.all(states.bricks)
    assert np.all(states.paddle == {"Easy": 2, "Medium": 2, "Hard": 3}[difficulty])
    assert np.all(states.ball[:, 0] == 13) and np.all(states.direction[:, 0] == -1)
    assert set(states.direction[:, 1]) == {-1, 1}
    contract.assert_distributed(np.bincount(2 * states.ball[:, 1] + (states.direction[:, 1] > 0), minlength=20))


@pytest.mark.parametrize(
    ("bricks", "ball", "direction", "after", "turned"),
    [
        pytest.param([], (0, 4), (-1, 1), (1, 5), (1, 1), id="the ceiling"),
        pytest.param([], (8, 9), (-1, 1), (7, 8), (-1, -1), id="a side"),
        pytest.param([], (0, 0), (-1, -1), (1, 1), (1, 1), id="a corner"),
        pytest.param([(1, 1)], (0, 0), (-1, -1), (0, 1), (-1, 1), id="a corner over a brick"),
        pytest.param([(6, 5)], (7, 4), (-1, 1), (7, 5), (1, 1), id="a brick"),
        pytest.param([(3, 5), (4, 5)], (4, 4), (-1, 1), (4, 4), (1, 1), id="a brick, another beside"),
        pytest.param([(3, 5)], (2, 4), (1, 1), (2, 5), (-1, 1), id="a brick from above"),
        pytest.param([(4, 5)], (4, 4), (-1, 1), (3, 5), (-1, 1), id="past a brick beside"),
        pytest.param([], (18, 4), (1, 1), (18, 5), (-1, 1), id="the paddle"),
        pytest.param([], (18, 9), (1, 1), (19, 8), (1, -1), id="beside the paddle"),
    ],
)
def test_bounces(bricks: list[tuple[int, int]], ball: Any, direction: Any, after: Any, turned: Any) -> None:
    env = Breakout()  # its paddle covers columns 2 to 7
    state = env.reset(jax.random.key(0))[1]
    wall = np.zeros((6, 10), bool)
    wall[0, 9] = True
    for row, col in bricks:
        wall[row - 1, col] = True
    state = state.replace(ball=jnp.asarray(ball), direction=jnp.asarray(direction), bricks=jnp.asarray(wall))
    _, state, _, _, info = env.step_env(jax.random.key(1), state, 4)
    assert tuple(state.ball) == after
    assert tuple(state.direction) == turned
    assert info["terminated"] == (after[0] == 19)


@pytest.mark.parametrize("left", [60, 31, 1])
def test_losing_the_ball_costs_the_fraction_of_bricks_left(left: int) -> None:
    env = Breakout()
    state = env.reset(jax.random.key(0))[1]
    bricks = jnp.arange(60).reshape(6, 10) < left
    state = state.replace(ball=jnp.array([18, 9]), direction=jnp.array([1, -1]), bricks=bricks)
    _, _, reward, _, info = env.step_env(jax.random.key(1), state, 4)
    assert info["terminated"]
    assert reward == pytest.approx(-left / 60)
    assert info["final_state"].score == contract.percent((~np.asarray(bricks)).sum(1) @ REWARDS - left / 60)


def test_pomdp_hides_the_ball_while_it_falls() -> None:
    env = Breakout(partial_obs=True)
    grid = env._screen[1]
    state = env.reset(jax.random.key(0))[1]
    for down in (-1, 1):
        glyphs = read_grid(grid, np.asarray(env.get_obs(state.replace(direction=jnp.array([down, 1])))))
        assert glyphs[*state.ball] == (breakout._BALL if down < 0 else breakout._AIR)
        assert np.sum(glyphs >= breakout._BALL) == (down < 0)
