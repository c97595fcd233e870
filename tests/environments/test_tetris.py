import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade import experts
from popgym_arcade.environments import tetris
from popgym_arcade.environments.tetris import COLS, PIECES, ROWS, Tetris
from popgym_arcade.testing import Decoder, Resampler
from tests.environments import contract, recorded

# Second description of the pieces: the cells (row, col) of each orientation in the box, in the order I, O, T, S, Z, J, L.
I_PIECE = [{(1, 0), (1, 1), (1, 2), (1, 3)}, {(0, 2), (1, 2), (2, 2), (3, 2)}]
O_PIECE = [{(0, 1), (0, 2), (1, 1), (1, 2)}]
T_PIECE = [
    {(0, 1), (1, 0), (1, 1), (1, 2)},
    {(0, 1), (1, 1), (1, 2), (2, 1)},
    {(1, 0), (1, 1), (1, 2), (2, 1)},
    {(0, 1), (1, 0), (1, 1), (2, 1)},
]
S_PIECE = [{(0, 1), (0, 2), (1, 0), (1, 1)}, {(0, 1), (1, 1), (1, 2), (2, 2)}]
Z_PIECE = [{(0, 0), (0, 1), (1, 1), (1, 2)}, {(0, 2), (1, 1), (1, 2), (2, 1)}]
J_PIECE = [
    {(0, 0), (1, 0), (1, 1), (1, 2)},
    {(0, 1), (0, 2), (1, 1), (2, 1)},
    {(1, 0), (1, 1), (1, 2), (2, 2)},
    {(0, 1), (1, 1), (2, 0), (2, 1)},
]
L_PIECE = [
    {(0, 2), (1, 0), (1, 1), (1, 2)},
    {(0, 1), (1, 1), (2, 1), (2, 2)},
    {(1, 0), (1, 1), (1, 2), (2, 0)},
    {(0, 0), (0, 1), (1, 1), (2, 1)},
]
ALL_PIECES = [I_PIECE, O_PIECE, T_PIECE, S_PIECE, Z_PIECE, J_PIECE, L_PIECE]
I, O, T = range(3)  # noqa: E741  # the names that players give the pieces


def cells_of(piece: int, orientation: int, row: int, col: int) -> set[tuple[int, int]]:
    return {(row + i, col + j) for i, j in ALL_PIECES[piece][orientation]}


def reader(env: Tetris) -> contract.Reader:
    stage = env.layout
    placements: dict[frozenset[Any], Any] = {
        frozenset(cells_of(piece, orientation, row, col)): (orientation, (row, col))
        for piece in range(PIECES)
        for orientation in range(len(ALL_PIECES[piece]))
        for row in range(ROWS)
        for col in range(-2, COLS)
    }

    def read(frame: np.ndarray) -> dict[str, Any]:
        glyphs = stage.board.read(frame)
        falling = glyphs >= tetris._PIECE
        pieces = set((glyphs[falling] - tetris._PIECE) % PIECES)
        assert len(pieces) == 1
        orientation, corner = placements[frozenset(map(tuple, np.argwhere(falling).tolist()))]
        bag = stage.bag.read(frame)[:, 0]
        assert np.array_equal(bag % PIECES, np.arange(PIECES))
        return {
            "score": stage.screen.score_readout.read(frame),
            "board": (glyphs == tetris._BLOCK) | (glyphs >= tetris._OVERLAP),
            "piece": pieces.pop(),
            "orientation": orientation,
            "corner": np.array(corner),
            "previews": stage.previews.read(frame)[:, 0],
            "bag": bag >= PIECES,
            "lines": 10 - stage.lines.read(frame),
        }

    return read


def decoder(env: Tetris) -> Decoder:
    return reader(env)


def resampler(env: Tetris) -> Resampler:
    def resample(key: jax.Array, state: Any) -> Any:
        return state.replace(board=jax.random.bernoulli(key, 0.4, (ROWS, COLS)))

    return resample


@pytest.mark.parametrize("difficulty", Tetris.difficulties)
def test_contract(difficulty: str) -> None:
    contract.check(Tetris(difficulty=difficulty), decoder, resampler)


@pytest.mark.parametrize("difficulty", Tetris.difficulties)
def test_recorded_run(difficulty: str) -> None:
    recorded.check(Tetris(difficulty=difficulty))


@pytest.mark.parametrize("difficulty", Tetris.difficulties)
def test_glimpses(difficulty: str) -> None:
    contract.check_glimpses(Tetris(difficulty=difficulty), reader)


class Well:
    """Second implementation of the rules, cell by cell."""

    def __init__(self, env: Tetris, state: Any) -> None:
        self.speed = 2 if env.difficulty == "Hard" else 1
        self.blocks = {(int(row), int(col)) for row, col in np.argwhere(state.board)}
        self.piece, self.orientation = int(state.piece), int(state.orientation)
        self.row, self.col = map(int, state.corner)
        self.previews = [int(piece) for piece in state.previews]
        self.lines = int(state.lines)
        self.locked = self.won = self.lost = False

    def free(self, orientation: int, row: int, col: int) -> bool:
        cells = cells_of(self.piece, orientation, row, col)
        return all(i in range(20) and j in range(10) for i, j in cells) and not cells & self.blocks

    def step(self, action: int) -> None:
        orientation, col = self.orientation, self.col
        if action == 0:
            orientation = (orientation + 1) % len(ALL_PIECES[self.piece])
        col += {2: -1, 3: 1}.get(action, 0)
        if self.free(orientation, self.row, col):
            self.orientation, self.col = orientation, col
        fallen = 0
        while fallen < self.speed + (action == 1) and self.free(self.orientation, self.row + 1, self.col):
            self.row += 1
            fallen += 1
        if fallen == 0:
            self.lock()

    def lock(self) -> None:
        self.locked = True
        self.blocks |= cells_of(self.piece, self.orientation, self.row, self.col)
        kept = [row for row in range(20) if not all((row, col) in self.blocks for col in range(10))]
        cleared = 20 - len(kept)
        self.blocks = {(kept.index(row) + cleared, col) for row, col in self.blocks if row in kept}
        self.lines = min(self.lines + cleared, 10)
        self.piece = self.previews.pop(0)
        self.orientation, self.row, self.col = 0, 0, 3
        self.won = self.lines == 10
        self.lost = not self.won and not self.free(0, 0, 3)

    @property
    def board(self) -> np.ndarray:
        return np.array([[(row, col) in self.blocks for col in range(10)] for row in range(20)])


def check_step(env: Tetris, step: contract.Step) -> Well:
    well = Well(env, step.before)
    well.step(step.action)
    after = step.after
    assert np.array_equal(after.board, well.board)
    assert (after.piece, after.orientation, *after.corner) == (well.piece, well.orientation, well.row, well.col)
    assert list(after.previews[: len(well.previews)]) == well.previews
    assert after.lines == well.lines
    if well.locked:
        dealt = int(after.previews[-1])
        left = {int(piece) for piece in np.flatnonzero(step.before.bag)}
        assert dealt in left
        left = left - {dealt} or set(range(7))
    else:
        left = set(np.flatnonzero(step.before.bag))
    assert set(np.flatnonzero(after.bag)) == left
    gain = (well.lines - int(step.before.lines)) / 10
    assert step.reward == pytest.approx(gain - well.lost)
    assert step.terminated == (well.won or well.lost)
    assert step.truncated == (not step.terminated and step.before.time == 2999)
    assert after.score == contract.percent(well.lines / 10 - well.lost)
    return well


@pytest.mark.parametrize("difficulty", Tetris.difficulties)
def test_rules_in_random_play(difficulty: str) -> None:
    env = Tetris(difficulty=difficulty)
    outcomes = collections.Counter()
    for step in contract.rollout(env, steps=200):
        well = check_step(env, step)
        outcomes.update({"locked": well.locked, "lost": well.lost})
        outcomes["blocked"] += step.action in (2, 3) and not well.locked and well.col == step.before.corner[1]
        outcomes[f"fell {step.after.corner[0] - step.before.corner[0]}"] += not well.locked
    assert all(outcomes[name] for name in ("locked", "lost", "blocked", "fell 1", "fell 2"))
    assert (outcomes["fell 3"] > 0) == (difficulty == "Hard")


@pytest.mark.parametrize("difficulty", Tetris.difficulties)
def test_rules_in_good_play(difficulty: str) -> None:
    env = Tetris(difficulty=difficulty)

    @jax.jit
    @jax.vmap
    def play(key: jax.Array) -> Any:
        def turn(state: Any, key: jax.Array) -> Any:
            key_action, key_step = jax.random.split(key)
            action = env.expert_action(key_action, state, env.default_params)
            _, following, reward, _, info = env.step(key_step, state, action)
            return following, (state, action, info["final_state"], reward, info["terminated"], info["truncated"])

        return jax.lax.scan(turn, env.reset(key)[1], jax.random.split(key, 350))[1]

    games = jax.tree.map(np.asarray, play(jax.random.split(jax.random.key(3), 3)))
    outcomes = collections.Counter()
    for index in np.ndindex(3, 350):
        before, action, after, *rest = jax.tree.map(lambda leaf, i=index: leaf[i], games)
        reward, terminated, truncated = map(np.ndarray.item, map(np.asarray, rest))
        well = check_step(env, contract.Step(before, int(action), after, reward, terminated, truncated))
        outcomes.update({"won": well.won, "line": well.lines > before.lines, "lines": well.lines > before.lines + 1})
    assert all(outcomes[name] for name in ("won", "line", "lines"))


def start(**changes: Any) -> Any:
    state = Tetris().reset(jax.random.key(0))[1]
    return state.replace(**{name: jnp.asarray(value, getattr(state, name).dtype) for name, value in changes.items()})


def gap_board(rows: range, gap: range) -> np.ndarray:
    """A board with some rows full but for a few columns."""
    board = np.zeros((ROWS, COLS), bool)
    board[rows.start : rows.stop] = True
    board[:, gap.start : gap.stop] = False
    return board


@pytest.mark.parametrize(("before", "paid"), [(0, 4), (6, 4), (8, 2), (9, 1)])
def test_no_more_than_ten_lines_pay(before: int, paid: int) -> None:
    """The long piece, upright in the last gap, clears four lines; what lay on them sinks."""
    board = gap_board(range(15, 20), range(5, 6))
    board[15, 0] = False
    state = start(board=board, piece=I, orientation=1, corner=(16, 3), lines=before)
    _, _, reward, _, info = Tetris().step_env(jax.random.key(1), state, 4)
    after = info["final_state"]
    assert after.lines == before + paid
    assert reward == pytest.approx(paid / 10)
    assert info["terminated"] == (before + paid == 10)
    assert after.score == 10 * (before + paid)
    assert np.array_equal(after.board, np.roll(board, 4, 0) & (np.arange(ROWS) == 19)[:, None])


@pytest.mark.parametrize("win", [False, True])
def test_a_piece_that_appears_on_a_block(win: bool) -> None:
    """It tops out, unless the piece before it won the game."""
    env = Tetris()
    board = gap_board(range(19, 20), range(4))
    board[2:19, 4] = True
    board[1, 4] = not win
    board[0, 4] = win  # sinks to row 1 when the line clears
    state = start(board=board, piece=I, corner=(18, 0), lines=9 if win else 3, previews=(T, I, O))
    if not win:
        state = state.replace(board=state.board.at[19, 9].set(False))
    _, _, reward, _, info = env.step_env(jax.random.key(1), state, 4)
    assert info["terminated"]
    assert reward == pytest.approx(0.1 if win else -1)
    read = decoder(env)(np.asarray(env.get_obs(info["final_state"])))
    for name, value in read.items():
        assert np.array_equal(value, getattr(info["final_state"], name)), name
    assert read["score"] == (100 if win else -70)


@pytest.mark.parametrize(
    ("changes", "action", "after"),
    [
        pytest.param({"piece": I, "orientation": 1, "corner": (5, -2)}, 0, (1, 6, -2), id="no kick off the wall"),
        pytest.param({"piece": I, "orientation": 1, "corner": (5, -2)}, 2, (1, 6, -2), id="the left wall"),
        pytest.param({"piece": I, "orientation": 1, "corner": (5, 7)}, 3, (1, 6, 7), id="the right wall"),
        pytest.param({"piece": I, "orientation": 1, "corner": (5, 3)}, 0, (0, 6, 3), id="back to the first of two"),
        pytest.param({"piece": O, "corner": (5, 3)}, 0, (0, 6, 3), id="the square does not turn"),
        pytest.param({"piece": T, "orientation": 3, "corner": (5, 3)}, 0, (0, 6, 3), id="back to the first of four"),
        pytest.param({"piece": T, "corner": (5, 3)}, 1, (0, 7, 3), id="down"),
        pytest.param({"piece": T, "corner": (17, 3)}, 1, (0, 18, 3), id="down to the floor"),
        pytest.param({"piece": T, "corner": (5, 3)}, 4, (0, 6, 3), id="fire does nothing"),
    ],
)
def test_turns_and_moves(changes: Any, action: int, after: tuple[int, int, int]) -> None:
    state = Tetris().step_env(jax.random.key(1), start(**changes), action)[1]
    assert (state.orientation, *state.corner) == after


@pytest.mark.parametrize("difficulty", Tetris.difficulties)
def test_starts(difficulty: str) -> None:
    env = Tetris(difficulty=difficulty)
    states = contract.starts(env, 40_000)
    dealt = np.column_stack([states.piece, states.previews])
    assert dealt.shape[1] == {"Easy": 4, "Medium": 3, "Hard": 2}[difficulty]
    assert np.all(np.diff(np.sort(dealt, 1), axis=1) > 0)
    assert np.array_equal(states.bag, ~(dealt[:, :, None] == np.arange(7)).any(1))
    arrangements = collections.Counter(map(tuple, dealt.tolist()))
    assert len(arrangements) == {"Easy": 840, "Medium": 210, "Hard": 42}[difficulty]
    contract.assert_distributed(np.array(list(arrangements.values())))
    assert not states.board.any() and not states.lines.any() and not states.orientation.any()
    assert np.all(states.corner == (0, 3))


@pytest.mark.parametrize("left", [range(7), (1, 4, 6), (3,)])
def test_dealing(left: Any) -> None:
    """What is left in the bag is equally likely; after the last piece comes the next bag."""
    bag = np.isin(np.arange(7), left)
    state = start(piece=O, corner=(18, 0), bag=bag)
    deal = jax.jit(jax.vmap(lambda key: Tetris().step_env(key, state, 4)[1]))
    states = jax.tree.map(np.asarray, deal(jax.random.split(jax.random.key(1), 20_000)))
    drawn = states.previews[:, -1]
    assert np.all(states.previews[:, :-1] == np.asarray(state.previews)[1:])
    assert np.all(bag[drawn])
    if len(left) > 1:
        contract.assert_distributed(np.bincount(drawn, minlength=7)[bag])
    rest = bag & (drawn[:, None] != np.arange(7))
    assert np.array_equal(states.bag, rest | ~rest.any(1, keepdims=True))


def test_expert_wins_nearly_always() -> None:
    env = Tetris()
    play = jax.jit(jax.vmap(lambda key: experts.play(env, experts.expert(env), key)))
    episodes = play(jax.random.split(jax.random.key(2), 128))
    assert np.mean(np.asarray(episodes.total) > 0.999) > 0.98
