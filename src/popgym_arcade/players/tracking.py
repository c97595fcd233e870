"""Memory players that keep an estimate of the state.

The rules carry the estimate on by the player's own last action, what the present frame tells overrides it, and the
expert acts on the result. A game adds how a glimpse overrides an estimate, and nothing else.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade.environment import Environment, Glimpse
from popgym_arcade.environments import breakout, skittles
from popgym_arcade.environments.autoencode import AutoEncode, AutoEncodeGlimpse, AutoEncodeState
from popgym_arcade.environments.breakout import Breakout, BreakoutGlimpse, BreakoutState
from popgym_arcade.environments.count_recall import CountRecall, CountRecallGlimpse, CountRecallState
from popgym_arcade.environments.navigator import Navigator, NavigatorGlimpse, NavigatorState
from popgym_arcade.environments.skittles import Skittles, SkittlesGlimpse, SkittlesState
from popgym_arcade.environments.tetris import Tetris, TetrisGlimpse, TetrisState
from popgym_arcade.players.player import Player

_Estimate = TypeVar("_Estimate")
_Seen = TypeVar("_Seen", bound=Glimpse)


def tracker(env: Environment[Any, Any], params: Any, correct: Callable[[_Estimate, _Estimate, _Seen], _Estimate]) -> Player:
    """Return a player that tracks the state.

    Args:
        env: the view that it sees.
        params: the parameters of the game.
        correct: (the former estimate, what the rules have made of it, glimpse) -> the new estimate. At the start of an
            episode the first two are the same and mean nothing.
    """

    def act(key: jax.Array, memory: Any, glimpse: Any) -> tuple[Any, jax.Array]:
        before, action, started = memory
        key_rules, key_expert = jax.random.split(key)
        carried_on, _, _ = env.transition(key_rules, before, action, params)
        carried_on = carried_on.replace(time=before.time + 1)
        estimate = correct(before, jax.tree.map(lambda new, old: jnp.where(started, new, old), carried_on, before), glimpse)
        action = env.expert_action(key_expert, estimate, params)
        return (estimate, action, jnp.ones((), bool)), action

    anything = env.initial_state(jax.random.key(0), params)
    return Player((anything, jnp.zeros((), jnp.int32), jnp.zeros((), bool)), act)


def count_recall(env: CountRecall, params: Any) -> Player:
    """Remember the cards that were dealt."""

    def correct(before: CountRecallState, now: CountRecallState, seen: CountRecallGlimpse) -> CountRecallState:
        here = np.arange(env.cards) == now.turn
        return now.replace(
            counter=seen.counter,
            deck=jnp.where(here, seen.dealt, now.deck).astype(now.deck.dtype),
            queries=jnp.where(here, seen.asked, now.queries).astype(now.queries.dtype),
        )

    return tracker(env, params, correct)


def autoencode(env: AutoEncode, params: Any) -> Player:
    """Remember the cards, and how many of them are named."""

    def correct(before: AutoEncodeState, now: AutoEncodeState, seen: AutoEncodeGlimpse) -> AutoEncodeState:
        here = np.arange(env.cards) == now.watched
        return now.replace(choice=seen.choice, deck=jnp.where(here, seen.card, now.deck).astype(now.deck.dtype))

    return tracker(env, params, correct)


def navigator(env: Navigator, params: Any) -> Player:
    """Remember treasure and TNT."""

    def correct(before: NavigatorState, now: NavigatorState, seen: NavigatorGlimpse) -> NavigatorState:
        shown = jnp.any(seen.treasure)
        treasure = jnp.stack(jnp.divmod(jnp.argmax(seen.treasure), env.side)).astype(jnp.int32)
        return now.replace(
            agent=seen.agent,
            treasure=jnp.where(shown, treasure, now.treasure),
            tnt=jnp.where(shown, seen.tnt, now.tnt),
        )

    return tracker(env, params, correct)


def breakout_player(env: Breakout, params: Any) -> Player:
    """Work out where the ball flies from two frames in which it rises, and go on from there while it falls."""

    def correct(before: BreakoutState, now: BreakoutState, seen: BreakoutGlimpse) -> BreakoutState:
        visible = seen.ball[0] != breakout.HIDDEN
        ball = jnp.where(visible, seen.ball, now.ball)
        moved = ball[1] - before.ball[1]
        risen = visible & (ball[0] == before.ball[0] - 1)
        right = jnp.where(risen & (jnp.abs(moved) == 1), moved, now.direction[1])
        guess = jnp.stack([jnp.where(visible, -1, now.direction[0]), right])
        direction = jnp.where(seen.direction != 0, seen.direction, guess)
        return now.replace(paddle=seen.paddle, bricks=seen.bricks, ball=ball, direction=direction)

    return tracker(env, params, correct)


def skittles_player(env: Skittles, params: Any) -> Player:
    """Remember the enemies that were seen higher up."""

    def correct(before: SkittlesState, now: SkittlesState, seen: SkittlesGlimpse) -> SkittlesState:
        # The rules let a newcomer appear, of which the player knows nothing.
        known = jnp.where(np.arange(skittles.SIDE) == 0, skittles.NONE, now.enemies)
        return now.replace(player=seen.player, enemies=jnp.where(seen.enemies != skittles.NONE, seen.enemies, known))

    return tracker(env, params, correct)


def tetris(env: Tetris, params: Any) -> Player:
    """Remember where the pieces came to rest."""

    def correct(before: TetrisState, now: TetrisState, seen: TetrisGlimpse) -> TetrisState:
        shown = vars(seen) if not env.partial_obs else vars(seen) | {"board": now.board}
        return now.replace(**shown)

    return tracker(env, params, correct)
