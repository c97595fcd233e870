"""What the tests of all games share: the contract, rollouts to compare with a second implementation, chi-square."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import scipy.stats

from popgym_arcade import experts, turns
from popgym_arcade.environment import Environment
from popgym_arcade.testing import Decoder, Near, Resampler, check_environment

# The decoders read frames of the default size and of the smallest one, where glyphs are hardest to tell apart.
SIZES = {"Easy": 128, "Medium": 64, "Hard": 64}


def sized(env: Environment[Any, Any]) -> Environment[Any, Any]:
    """The environment at the size of its checks: what is asked of it there is compiled once."""
    return dataclasses.replace(env, obs_size=SIZES[env.difficulty])


def check(
    env: Environment[Any, Any],
    decoder: Callable[[Any], Decoder],
    resampler: Callable[[Any], Resampler],
) -> None:
    env = sized(env)
    report = check_environment(env, decode=decoder(env), resample_hidden=resampler(env), expert=experts.expert(env))
    # Promise 6 is kept by the figures of far longer searches: see tests/players.
    assert report.not_checked == ("promise 6: memory pays (give memory_player)",)


Reader = Callable[[np.ndarray], Mapping[str, Any]]


def check_glimpses(env: Environment[Any, Any], reader: Callable[[Any], Reader]) -> None:
    """Compare what both views say that their frames tell with what a program reads from the pixels at 128 px.

    Args:
        env: either view.
        reader: view -> (frame -> the fields of its glimpses, by their names; numbers read to a pixel as `Near`).
    """
    seen = [step.before for step in rollout(env)]
    starts = [state for state in seen if state.time == 0][:8]
    states = jax.tree.map(lambda *leaves: np.stack(leaves), *starts, *seen[:: len(seen) // 56][: 64 - len(starts)])
    for view in (env, env.twin):
        view = dataclasses.replace(view, obs_size=128)
        glimpses = jax.tree.map(np.asarray, jax.jit(jax.vmap(view.glimpse))(states))
        frames = turns.draw(view, states)
        read = reader(view)
        for number, frame in enumerate(frames):
            told = read(frame)
            assert told.keys() == vars(glimpses).keys()
            for name, value in told.items():
                truth = getattr(glimpses, name)[number]
                if isinstance(value, Near):
                    assert np.all(np.abs(value.value - truth) <= value.within), name
                else:
                    assert np.array_equal(value, truth), f"{name}: read {value}, but the glimpse has {truth}"


@dataclasses.dataclass(frozen=True)
class Step:
    before: Any
    action: int
    after: Any
    reward: float
    terminated: bool
    truncated: bool


def rollout(env: Environment[Any, Any], *, steps: int = 60, fire: float = 0.2) -> Iterator[Step]:
    """Yield the steps of random play in `turns.ENVS` environments, one after the other, state by state.

    They are there for a second implementation of the rules to compare with.
    """
    env, params = sized(env), env.default_params
    rng = np.random.default_rng(11)
    keys = turns.many_keys(11)
    state = turns.start(env, next(keys), params)[1]
    taken = []
    for key in itertools.islice(keys, steps):
        actions = np.where(rng.random(turns.ENVS) < fire, 4, rng.integers(0, 5, turns.ENVS))
        outcome = turns.take_turn(env, key, state, actions, params)
        ends = outcome.info["terminated"], outcome.info["truncated"]
        taken.append((state, actions, outcome.info["final_state"], outcome.reward, *ends))
        state = outcome.state
    for lane in range(turns.ENVS):
        for turn in taken:
            before, action, after, *rest = jax.tree.map(lambda leaf, i=lane: leaf[i], turn)
            reward, terminated, truncated = map(np.generic.item, rest)
            yield Step(before, int(action), after, reward, terminated, truncated)


@functools.cache
def starts(env: Environment[Any, Any], n: int) -> Any:
    """Start `n` episodes and return their states, in NumPy."""
    keys = jax.random.split(jax.random.key(12), n)
    states = jax.jit(jax.vmap(lambda key: env.reset(key)[1]))(keys)
    return jax.tree.map(np.asarray, states)


def assert_distributed(counts: np.ndarray, probabilities: np.ndarray | float | None = None) -> None:
    """Chi-square test of counts, by default for a uniform distribution. The keys are fixed: it always ends the same way."""
    counts = np.asarray(counts).ravel()
    expected = np.full(len(counts), 1 / len(counts)) if probabilities is None else np.ravel(probabilities)
    assert np.all(counts > 0), "some outcomes never happened"
    assert scipy.stats.chisquare(counts, expected * counts.sum()).pvalue > 1e-3


def moved(position: np.ndarray, action: int, side: int) -> tuple[int, int]:
    """Second implementation of moving on a board."""
    row, col = position
    if action == 0:
        row = max(row - 1, 0)
    elif action == 1:
        row = min(row + 1, side - 1)
    elif action == 2:
        col = max(col - 1, 0)
    elif action == 3:
        col = min(col + 1, side - 1)
    return int(row), int(col)


def percent(total: float) -> int:
    """Second implementation of the score; exact halves are told from float noise."""
    return int(np.rint(np.round(100 * total, 6)))
