import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade import sampling
from popgym_arcade.environments.count_recall import CountRecall
from popgym_arcade.testing import Decoder, Resampler
from tests.environments import contract, recorded


def reader(env: CountRecall) -> contract.Reader:
    table, counter = env.layout

    def read(frame: np.ndarray) -> dict[str, Any]:
        return {
            "score": table.screen.score_readout.read(frame),
            "dealt": int(table.left_card.read(frame)[0, 0]) - 1,
            "asked": int(table.right_card.read(frame)[0, 0]) - 1,
            "counter": counter.read(frame),
            "history": table.history.read(frame).ravel()[: env.cards] - 1,
        }

    return read


def decoder(env: CountRecall) -> Decoder:
    def decode(frame: np.ndarray) -> dict[str, Any]:
        told = reader(env)(frame)
        turn, number = np.count_nonzero(told["history"] >= 0), np.arange(env.cards)
        return {
            "score": told["score"],
            "turn": turn,
            "counter": told["counter"],
            "deck": np.ma.masked_array(np.where(number == turn, told["dealt"], told["history"]), number > turn),
            "queries": np.ma.masked_array(np.full(env.cards, told["asked"]), number != turn),
            "right": round(told["score"] * env.cards / 100),
        }

    return decode


def resampler(env: CountRecall) -> Resampler:
    """Draw other decks and another number of turns, with this turn's card and question in their new place."""

    def resample(key: jax.Array, state: Any) -> Any:
        key_decks, key_turn = jax.random.split(key)
        other = env.initial_state(key_decks, env.default_params)
        over = state.turn == env.cards
        turn = jnp.where(over, env.cards, jax.random.randint(key_turn, (), 0, env.cards))
        here, there = np.arange(env.cards) == turn, np.arange(env.cards) == state.turn

        def keep(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(here, jnp.sum(jnp.where(there, old, 0), dtype=old.dtype), new)

        return state.replace(deck=keep(other.deck, state.deck), queries=keep(other.queries, state.queries), turn=turn)

    return resample


@pytest.mark.parametrize("difficulty", CountRecall.difficulties)
def test_contract(difficulty: str) -> None:
    contract.check(CountRecall(difficulty=difficulty), decoder, resampler)


@pytest.mark.parametrize("difficulty", CountRecall.difficulties)
def test_recorded_run(difficulty: str) -> None:
    recorded.check(CountRecall(difficulty=difficulty))


@pytest.mark.parametrize("difficulty", CountRecall.difficulties)
def test_glimpses(difficulty: str) -> None:
    contract.check_glimpses(CountRecall(difficulty=difficulty), reader)


@pytest.mark.parametrize("difficulty", CountRecall.difficulties)
def test_rules(difficulty: str) -> None:
    env = CountRecall(difficulty=difficulty)
    outcomes = collections.Counter()
    right = 0
    for step in contract.rollout(env, steps=270, fire=0.3):
        right = 0 if step.before.time == 0 else right
        turn, counter = int(step.before.turn), int(step.before.counter)
        counter = min(counter + 1, env.cards) if step.action == 0 else max(counter - 1, 0) if step.action == 1 else counter
        reward = 0.0
        if step.action == 4:
            correct = list(step.before.deck[:turn]).count(step.before.queries[turn]) == counter
            reward = correct / env.cards
            right += correct
            turn += 1
            outcomes[correct] += 1
        assert step.after.turn == turn
        assert step.after.counter == counter
        assert step.after.right == right
        assert step.after.score == contract.percent(right / env.cards)
        assert np.array_equal(step.after.deck, step.before.deck)
        assert np.array_equal(step.after.queries, step.before.queries)
        assert step.reward == pytest.approx(reward)
        assert step.terminated == (turn == env.cards)
        assert step.truncated == (turn < env.cards and step.before.time + 1 == 10 * env.cards)
        outcomes["end"] += step.terminated
    assert all(outcomes.values())


def test_the_counter_stops_at_the_size_of_the_deck() -> None:
    env = CountRecall()
    _, state = env.reset(jax.random.key(0))
    for start, action in ((env.cards, 0), (0, 1)):
        _, _, _, _, info = env.step(jax.random.key(1), state.replace(counter=jnp.int32(start)), action)
        assert info["final_state"].counter == start


@pytest.mark.parametrize("difficulty", CountRecall.difficulties)
def test_starts(difficulty: str) -> None:
    env = CountRecall(difficulty=difficulty)
    states = contract.starts(env, 20_000)
    sizes = np.array([len(range(suit, env.cards, env.suits)) for suit in range(env.suits)])
    for deck in (states.deck, states.queries):
        assert np.all(np.sort(deck, 1) == np.sort(np.arange(env.cards) % env.suits))
        for position in (0, 1, env.cards - 1):
            contract.assert_distributed(np.bincount(deck[:, position], minlength=env.suits), sizes / env.cards)
        first_two = np.bincount(deck[:, 0].astype(int) * env.suits + deck[:, 1], minlength=env.suits**2)
        pairs = np.outer(sizes, sizes) - np.diag(sizes)
        contract.assert_distributed(first_two, pairs / pairs.sum())
    both = np.bincount(states.deck[:, 0].astype(int) * env.suits + states.queries[:, 0], minlength=env.suits**2)
    contract.assert_distributed(both, np.outer(sizes, sizes) / env.cards**2)


def test_all_orders_of_a_small_deck() -> None:
    decks = jax.vmap(lambda bits: sampling.shuffled_deck(bits, 4))(jax.random.bits(jax.random.key(0), (24_000, 4)))
    orders = collections.Counter(map(tuple, np.asarray(decks).tolist()))
    assert len(orders) == 24
    contract.assert_distributed(np.array(list(orders.values())))
