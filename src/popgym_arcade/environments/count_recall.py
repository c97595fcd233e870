"""CountRecall: how many of these have I seen?"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from popgym_arcade.environments import card_table
from popgym_arcade.game import (
    LEVELS,
    Action,
    Environment,
    Glimpse,
    Params,
    Readout,
    State,
    Transition,
    palette,
    percent,
    pytree,
    sampling,
    start_fields,
)


@pytree
class CountRecallParams(Params):
    """The parameters of CountRecall."""

    right_reward: ArrayLike
    """For a right answer, float32[]."""


@pytree
class CountRecallState(State):
    """The state of CountRecall, with a deck of `cards` cards."""

    deck: jax.Array
    """The suits in the order they are dealt, int8[cards]. The card of this turn is public, those of earlier turns are
    public in the MDP and hidden in the POMDP, the later ones are never shown."""
    queries: jax.Array
    """The suits in the order they are asked for, int8[cards]. That of this turn is public, the others are never shown."""
    turn: jax.Array
    """Turns played, int32[]. Public in the MDP, hidden in the POMDP."""
    counter: jax.Array
    """The answer that fire would give, int32[]. Public."""
    right: jax.Array
    """Right answers given, int32[]. Public, as the score."""


@pytree
class CountRecallGlimpse(Glimpse):
    """The contents of a frame of CountRecall. Cards are told by their suit; NONE stands for no card."""

    dealt: jax.Array
    """The card of this turn, int32[]."""
    asked: jax.Array
    """The suit asked for, int32[]."""
    counter: jax.Array
    """The answer that fire would give, int32[]."""
    history: jax.Array
    """The cards dealt in earlier turns, in their order, then NONE, int32[cards]; in the POMDP only NONE."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountRecall(Environment[CountRecallState, CountRecallParams]):
    """Count the cards that went by.

    Cards: a deck of 26 / 52 / 78 with 2 / 2 / 4 suits, equally many of each as far as possible (the first suits have one
        more), and a second one that asks the questions; both shuffled, independently. A card is its suit.
    Actions: up and down change the counter by one, never below zero or above the deck's size; fire answers; left and
        right do nothing.
    Turn: it shows the card dealt and the suit asked for. An answer is right if the counter equals the number of cards
        of that suit dealt in earlier turns. Right or wrong, it moves on to the next turn; the counter keeps its value.
    End: terminated after the last card; truncated after 10 steps per card.
    Reward: 1 / cards for each right answer. The return lies in [0, 1], the best one is 1.
    MDP frame: card, question, counter, and all cards dealt in earlier turns, in lines.
    POMDP frame: card, question and counter.
    Memory: how many cards of each suit were dealt in earlier turns, until the last card. Their order does not matter.
    Memory length: all of the episode; a number per suit is enough.
    Winning: bring the counter to the number of such cards, then fire. The expert counts the deck itself and never errs.
    """

    difficulties = LEVELS

    @property
    def cards(self) -> int:
        """The size of the deck."""
        return card_table.CARDS[self.difficulty]

    @property
    def suits(self) -> int:
        """How many suits there are."""
        return {"Easy": 2, "Medium": 2, "Hard": 4}[self.difficulty]

    @property
    def default_params(self) -> CountRecallParams:
        """See the class."""
        return CountRecallParams(max_steps_in_episode=np.int32(10 * self.cards), right_reward=np.float32(1 / self.cards))

    def initial_state(self, key: jax.Array, params: CountRecallParams) -> CountRecallState:
        """Shuffle both decks."""
        bits = sampling.words(key, (2, self.cards))
        zero = jnp.zeros((), jnp.int32)
        return CountRecallState(
            **start_fields(),
            deck=sampling.shuffled_deck(bits[0], self.suits),
            queries=sampling.shuffled_deck(bits[1], self.suits),
            turn=zero,
            counter=zero,
            right=zero,
        )

    def transition(
        self, key: jax.Array, state: CountRecallState, action: jax.Array, params: CountRecallParams
    ) -> Transition[CountRecallState]:
        """Count or answer."""
        fire = action == Action.FIRE
        correct = fire & (state.counter == answer(state))
        change = (action == Action.UP).astype(jnp.int32) - (action == Action.DOWN)
        turn = state.turn + fire
        right = state.right + correct

        state = state.replace(
            turn=turn,
            counter=jnp.clip(state.counter + change, 0, self.cards),
            right=right,
            score=percent(right * params.right_reward),
        )
        return state, jnp.where(correct, params.right_reward, 0.0).astype(jnp.float32), turn == self.cards

    def glimpse(self, state: CountRecallState) -> CountRecallGlimpse:
        """Read the table."""
        earlier = (np.arange(self.cards) < state.turn) & (not self.partial_obs)
        return CountRecallGlimpse(
            score=state.score,
            dealt=card_table.card_at(state.deck, state.turn),
            asked=card_table.card_at(state.queries, state.turn),
            counter=state.counter,
            history=jnp.where(earlier, state.deck.astype(jnp.int32), card_table.NONE),
        )

    def draw(self, state: CountRecallState) -> jax.Array:
        """Show the table."""
        table, counter = self.layout
        seen = self.glimpse(state)
        return table.screen.render(
            table.screen.score(seen.score),
            card_table.show_card(table.left_card, seen.dealt),
            card_table.show_card(table.right_card, seen.asked),
            counter.show(seen.counter),
            *([] if self.partial_obs else [table.history.fill(table.lines(seen.history - card_table.NONE))]),
        )

    def expert_action(self, key: jax.Array, state: CountRecallState, params: CountRecallParams) -> jax.Array:
        """Set the counter to the answer and fire."""
        wanted = answer(state)
        action = jnp.where(state.counter < wanted, Action.UP, jnp.where(state.counter > wanted, Action.DOWN, Action.FIRE))
        return action.astype(jnp.int32)

    @functools.cached_property
    def layout(self) -> tuple[card_table.Table, Readout]:
        """The screen of this view, laid out once."""
        table = card_table.Table(self.obs_size, type(self).__name__, self.cards, self.suits, "DEALT", "ASKED")
        return table, table.middle_readout([f"{count:2d}" for count in range(self.cards + 1)], palette.YELLOW)


def answer(state: CountRecallState) -> jax.Array:
    """Count the cards of the queried suit dealt in earlier turns: int32[]."""
    earlier = np.arange(len(state.deck)) < state.turn
    return jnp.sum(earlier & (state.deck == card_table.card_at(state.queries, state.turn)), dtype=jnp.int32)
