import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.environments import breakout
from popgym_arcade.environments.breakout import COLS, ROWS, WALL_ROWS, Breakout
from popgym_arcade.testing import Decoder, Resampler
from tests.environments import contract, recorded

REWARDS = np.array([15, 13, 11, 9, 7, 5]) / 600
WALL = np.s_[1:7]


def reader(env: Breakout) -> contract.Reader:
    screen, grid = env.layout

    def read(frame: np.ndarray) -> dict[str, Any]:
        glyphs = grid.read(frame)
        bricks = (glyphs >= breakout._BRICK) & (glyphs < breakout._PADDLE_LEFT)
        rows = np.arange(ROWS)[:, None] - 1 + breakout._BRICK
        assert np.array_equal(bricks, glyphs == np.where((rows >= 1) & (rows <= WALL_ROWS), rows, -1))
        ends = np.argwhere((glyphs == breakout._PADDLE_LEFT) | (glyphs == breakout._PADDLE_RIGHT))
        assert ends[1, 1] - ends[0, 1] == env.paddle_width - 1
        assert np.sum(glyphs == breakout._PADDLE) == env.paddle_width - 2
        balls = np.argwhere(glyphs >= breakout._BALL)
        assert len(balls) <= 1
        ball, direction, struck = (balls[0] if len(balls) else [breakout.HIDDEN] * 2), np.zeros(2), 0
        if len(balls) and glyphs[*ball] == breakout._BALL:
            direction = np.array([-1, 0])
        elif len(balls):
            struck, flight = divmod(glyphs[*ball] - breakout._MOVING_BALL, 4)
            direction = 2 * np.array(divmod(flight, 2)) - 1
        return {
            "score": screen.score_readout.read(frame),
            "paddle": ends[0, 1],
            "ball": ball,
            "direction": direction,
            "struck": np.asarray(struck == 1),
            "bricks": bricks[WALL],
        }

    return read


def decoder(env: Breakout) -> Decoder:
    return reader(env)


def resampler(env: Breakout) -> Resampler:
    def resample(key: jax.Array, state: Any) -> Any:
        key_side, key_row, key_col, key_struck = jax.random.split(key, 4)
        right = 2 * jax.random.bernoulli(key_side).astype(jnp.int32) - 1
        row, col = jax.random.randint(key_row, (), 0, ROWS), jax.random.randint(key_col, (), 0, COLS)
        falls = state.direction[0] > 0
        return state.replace(
            ball=jnp.where(falls, jnp.stack([row, col]), state.ball),
            direction=state.direction.at[1].set(right),
            struck=jax.random.bernoulli(key_struck),
        )

    return resample


@pytest.mark.parametrize("difficulty", Breakout.difficulties)
def test_contract(difficulty: str) -> None:
    contract.check(Breakout(difficulty=difficulty), decoder, resampler)


@pytest.mark.parametrize("difficulty", Breakout.difficulties)
def test_recorded_run(difficulty: str) -> None:
    recorded.check(Breakout(difficulty=difficulty))


@pytest.mark.parametrize("difficulty", Breakout.difficulties)
def test_glimpses(difficulty: str) -> None:
    contract.check_glimpses(Breakout(difficulty=difficulty), reader)


class Court:
    """Second implementation of the ball's flight."""

    def __init__(self, bricks: np.ndarray, ball: Any, direction: Any, struck: bool = False) -> None:
        self.bricks = {(int(row) + 1, int(col)) for row, col in np.argwhere(bricks)}
        self.row, self.col = map(int, ball)
        self.down, self.right = map(int, direction)
        self.struck = bool(struck)
        self.served = False  # whether chance has chosen a side in the last flight

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
        self.served = outcome == "caught" and self.struck
        self.struck = outcome == "brick" or (self.struck and outcome != "caught")
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
    for step in contract.rollout(env, steps=150):
        court = Court(step.before.bricks, step.before.ball, step.before.direction, step.before.struck)
        falls = court.down > 0
        paddle = int(step.before.paddle) + (falls * {2: -1, 3: 1}.get(step.action, 0))
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
        assert step.after.direction[0] == court.down
        assert step.after.direction[1] == court.right or (court.served and step.after.direction[1] == -court.right)
        assert step.after.struck == court.struck
        assert np.array_equal(step.after.bricks, court.wall)
        assert step.reward == pytest.approx(hit.sum(1) @ REWARDS - loss)
        assert step.terminated == (outcome == "lost" or not court.bricks)
        assert step.truncated == (not step.terminated and step.before.time == 3999)
        assert step.after.score == contract.percent((~court.wall).sum(1) @ REWARDS - loss)
    assert all(outcomes[name] for name in ("air", "brick", "side", "caught", "lost"))


@pytest.mark.parametrize("difficulty", Breakout.difficulties)
def test_whoever_catches_the_ball_clears_the_wall(difficulty: str) -> None:
    """The expert's games, against the second implementation, which is told which sides chance has chosen."""
    env = Breakout(difficulty=difficulty)

    @jax.jit
    @jax.vmap
    def play(key: jax.Array) -> Any:
        key_start, key_steps = jax.random.split(key)
        state = env.reset(key_start)[1]

        def turn(state: Any, key: Any) -> Any:
            _, after, reward, _, info = env.step_env(key, state, env.expert_action(key, state, env.default_params))
            return after, (after.ball, after.direction, reward, info["terminated"], after.score)

        return state.ball, state.direction, jax.lax.scan(turn, state, jax.random.split(key_steps, 3_000))[1]

    served = []
    *starts, steps = jax.tree.map(np.asarray, play(jax.random.split(jax.random.key(0), 20)))
    for ball, direction, balls, directions, rewards, terminated, scores in zip(*starts, *steps, strict=True):
        court = Court(np.ones((6, 10), bool), ball, direction)
        end = 0
        while court.bricks:
            assert court.fly(range(10)) != "lost"
            assert tuple(balls[end]) == (court.row, court.col)
            if court.served:
                served.append(directions[end][1])
                court.right = int(served[-1])
            assert tuple(directions[end]) == (court.down, court.right)
            end += 1
        assert terminated.argmax() == end - 1
        assert rewards[:end].sum() == pytest.approx(1, abs=1e-5)
        assert scores[end - 1] == 100
    contract.assert_distributed(np.bincount(np.array(served) > 0, minlength=2))


@pytest.mark.parametrize("difficulty", Breakout.difficulties)
def test_starts(difficulty: str) -> None:
    env = Breakout(difficulty=difficulty)
    states = contract.starts(env, 40_000)
    assert np.all(states.bricks)
    assert np.all(states.paddle == {"Easy": 2, "Medium": 2, "Hard": 3}[difficulty])
    assert np.all(states.ball[:, 0] == 13) and np.all(states.direction[:, 0] == -1)
    assert set(states.direction[:, 1]) == {-1, 1} and not states.struck.any()
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


def test_a_caught_ball_turns_at_random_if_it_has_struck_a_brick() -> None:
    env = Breakout()
    state = env.reset(jax.random.key(0))[1]
    state = state.replace(ball=jnp.array([18, 4]), direction=jnp.array([1, 1]))
    keys = jax.random.split(jax.random.key(1), 2_000)
    step = jax.vmap(lambda key, struck: env.step_env(key, state.replace(struck=struck), 4)[1], in_axes=(0, None))
    for struck in (False, True):
        after = step(keys, jnp.asarray(struck))
        assert np.all(after.ball == np.array([18, 5])) and np.all(after.direction[:, 0] == -1) and not after.struck.any()
        sides = np.bincount(np.asarray(after.direction[:, 1]) > 0, minlength=2)
        if struck:
            contract.assert_distributed(sides)
        else:
            assert list(sides) == [0, 2_000]


def test_the_paddle_stands_still_while_the_ball_rises() -> None:
    env = Breakout()
    state = env.reset(jax.random.key(0))[1]
    for down, paddle in ((-1, 2), (1, 3)):
        moved = env.step_env(jax.random.key(1), state.replace(direction=jnp.array([down, 1])), 3)[1]
        assert moved.paddle == paddle


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
    grid = env.layout[1]
    state = env.reset(jax.random.key(0))[1]
    for down in (-1, 1):
        glyphs = grid.read(np.asarray(env.get_obs(state.replace(direction=jnp.array([down, 1])))))
        assert glyphs[*state.ball] == (breakout._BALL if down < 0 else breakout._AIR)
        assert np.sum(glyphs >= breakout._BALL) == (down < 0)
