import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.environments.autoencode import SUITS, AutoEncode
from popgym_arcade.testing import Decoder, Resampler
from tests.environments import contract, recorded


def reader(env: AutoEncode) -> contract.Reader:
    table = env.layout

    def read(frame: np.ndarray) -> dict[str, Any]:
        history = table.history.read(frame).ravel()
        return {
            "score": table.screen.score_readout.read(frame),
            "card": int(table.left_card.read(frame)[0, 0]) - 1,
            "choice": int(table.right_card.read(frame)[0, 0]) - 1,
            "history": np.where(history > 0, (history - 1) % SUITS, -1),
            "crossed": history > SUITS,
        }

    return read


def decoder(env: AutoEncode) -> Decoder:
    def decode(frame: np.ndarray) -> dict[str, Any]:
        told = reader(env)(frame)
        history, card = told["history"], told["card"]
        seen = np.count_nonzero(history >= 0)
        assert card in (-1, history[seen - 1])
        return {
            "score": told["score"],
            "deck": np.ma.masked_array(history, history < 0),
            "watched": env.cards if card < 0 else seen - 1,
            "played": np.count_nonzero(told["crossed"]),
            "choice": told["choice"],
            "right": round(told["score"] * env.cards / 100),
        }

    return decode


def resampler(env: AutoEncode) -> Resampler:
    """Draw another deck, and another number of cards watched and played, with the card on the table in its new place."""

    def resample(key: jax.Array, state: Any) -> Any:
        key_deck, key_watched, key_played = jax.random.split(key, 3)
        playing = state.watched == env.cards
        watched = jnp.where(playing, env.cards, jax.random.randint(key_watched, (), 0, env.cards))
        played = jnp.where(playing, jax.random.randint(key_played, (), 0, env.cards + 1), 0)
        here, there = np.arange(env.cards) == watched, np.arange(env.cards) == state.watched
        deck = env.initial_state(key_deck, env.default_params).deck
        card = jnp.sum(jnp.where(there, state.deck, 0), dtype=jnp.int8)
        return state.replace(deck=jnp.where(here, card, deck), watched=watched, played=played)

    return resample


@pytest.mark.parametrize("difficulty", AutoEncode.difficulties)
def test_contract(difficulty: str) -> None:
    contract.check(AutoEncode(difficulty=difficulty), decoder, resampler)


@pytest.mark.parametrize("difficulty", AutoEncode.difficulties)
def test_recorded_run(difficulty: str) -> None:
    recorded.check(AutoEncode(difficulty=difficulty))


@pytest.mark.parametrize("difficulty", AutoEncode.difficulties)
def test_glimpses(difficulty: str) -> None:
    contract.check_glimpses(AutoEncode(difficulty=difficulty), reader)


@pytest.mark.parametrize("difficulty", AutoEncode.difficulties)
def test_rules(difficulty: str) -> None:
    env = AutoEncode(difficulty=difficulty)
    outcomes = collections.Counter()
    right = played = 0
    for step in contract.rollout(env, steps=300, fire=0.3):
        time = int(step.before.time)
        right, played = (0, 0) if time == 0 else (right, played)
        reward, choice = 0.0, int(step.before.choice)
        if time >= env.cards:
            if step.action == 4:
                correct = step.before.deck[::-1][played] == choice
                reward = correct / env.cards
                right, played = right + correct, played + 1
                outcomes[bool(correct)] += 1
            choice = (choice + {2: -1, 3: 1}.get(step.action, 0)) % SUITS
        assert step.after.watched == min(time + 1, env.cards)
        assert step.after.choice == choice
        assert step.after.played == played
        assert step.after.right == right
        assert step.after.score == contract.percent(right / env.cards)
        assert np.array_equal(step.after.deck, step.before.deck)
        assert step.reward == pytest.approx(reward)
        assert step.terminated == (played == env.cards)
        assert step.truncated == (played < env.cards and time + 1 == 10 * env.cards)
        outcomes["end"] += step.terminated
    assert all(outcomes.values())


def test_the_deck_goes_by_once() -> None:
    """The frame after step k shows card k + 1; after the last one none, and nothing but the score and the suits remain."""
    env = AutoEncode(partial_obs=True)
    obs, state = env.reset(jax.random.key(0))
    for card in np.asarray(state.deck):
        assert env.layout.left_card.read(np.asarray(obs))[0, 0] == card + 1
        obs, state, reward, _, _ = env.step(jax.random.key(1), state, 4)
        assert reward == 0
    assert env.layout.left_card.read(np.asarray(obs))[0, 0] == 0
    assert state.played == 0


@pytest.mark.parametrize("difficulty", AutoEncode.difficulties)
def test_starts(difficulty: str) -> None:
    env = AutoEncode(difficulty=difficulty)
    states = contract.starts(env, 20_000)
    sizes = np.array([len(range(suit, env.cards, SUITS)) for suit in range(SUITS)])
    assert np.all(np.sort(states.deck, 1) == np.sort(np.arange(env.cards) % SUITS))
    for position in (0, env.cards - 1):
        contract.assert_distributed(np.bincount(states.deck[:, position], minlength=SUITS), sizes / env.cards)
