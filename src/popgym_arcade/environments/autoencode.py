"""AutoEncode: say it backwards."""

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
    State,
    Transition,
    percent,
    pytree,
    sampling,
    start_fields,
)

SUITS = 4


@pytree
class AutoEncodeParams(Params):
    """The parameters of AutoEncode."""

    right_reward: ArrayLike
    """For naming a card rightly, float32[]."""


@pytree
class AutoEncodeState(State):
    """The state of AutoEncode, with a deck of `cards` cards."""

    deck: jax.Array
    """The suits in the order they are shown, int8[cards]. The card on the table is public, those seen before are public
    in the MDP and hidden in the POMDP, those to come are never shown."""
    watched: jax.Array
    """Steps of watching, int32[], 0 to cards: card `watched` is on the table, none once all have been. In the POMDP only
    whether there is one is public."""
    played: jax.Array
    """Cards named, int32[]. Public in the MDP, hidden in the POMDP."""
    choice: jax.Array
    """The suit that fire would name, int32[]. Public."""
    right: jax.Array
    """Cards named rightly, int32[]. Public, as the score."""


@pytree
class AutoEncodeGlimpse(Glimpse):
    """The contents of a frame of AutoEncode. Cards are told by their suit; NONE stands for no card."""

    card: jax.Array
    """The card on the table, int32[]."""
    choice: jax.Array
    """The suit that fire would name, int32[]."""
    history: jax.Array
    """The cards seen so far, in their order, then NONE, int32[cards]; in the POMDP only NONE."""
    crossed: jax.Array
    """Which of them are played already, bool[cards]; in the POMDP none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoEncode(Environment[AutoEncodeState, AutoEncodeParams]):
    """Watch a deck of cards, then name them in reverse order.

    Cards: a shuffled deck of 26 / 52 / 78 in 4 suits, equally many of each as far as possible (the first suits have one
        more). A card is its suit.
    Watching: takes as many steps as there are cards; the first frame shows the first card, the frame after step k shows
        card k + 1, the frame after the last such step shows none and begins the play. No action does anything.
    Playing: left and right cycle through the suits, starting from the first; fire names the one selected, and, right or
        wrong, moves on to the card before. Up and down do nothing.
    End: terminated after the last card; truncated after 10 steps per card.
    Reward: 1 / cards for each card named rightly. The return lies in [0, 1], the best one is 1.
    MDP frame: the card, the selected suit, and all cards seen so far in lines, those already played crossed out.
    POMDP frame: the card and the selected suit.
    Memory: all cards in their order, and how many of them are named already. The last card is needed at once, the first
        one at the very end.
    Memory length: all of the episode: the card seen first is needed last.
    Winning: name the last card, then the one before it, and so on. The expert turns to the right suit the shorter way, two
        steps at most, and never errs.
    """

    difficulties = LEVELS

    @property
    def cards(self) -> int:
        """The size of the deck."""
        return card_table.CARDS[self.difficulty]

    @property
    def default_params(self) -> AutoEncodeParams:
        """See the class."""
        return AutoEncodeParams(max_steps_in_episode=np.int32(10 * self.cards), right_reward=np.float32(1 / self.cards))

    def initial_state(self, key: jax.Array, params: AutoEncodeParams) -> AutoEncodeState:
        """Shuffle the deck."""
        deck = sampling.shuffled_deck(sampling.words(key, (self.cards,)), SUITS)
        zero = jnp.zeros((), jnp.int32)
        return AutoEncodeState(**start_fields(), deck=deck, watched=zero, played=zero, choice=zero, right=zero)

    def transition(
        self, key: jax.Array, state: AutoEncodeState, action: jax.Array, params: AutoEncodeParams
    ) -> Transition[AutoEncodeState]:
        """Watch, or play."""
        playing = state.watched == self.cards
        named = playing & (action == Action.FIRE)
        correct = named & (state.choice == card_table.card_at(state.deck, self.cards - 1 - state.played))
        turn = (action == Action.RIGHT).astype(jnp.int32) - (action == Action.LEFT)
        played = state.played + named
        right = state.right + correct

        state = state.replace(
            watched=state.watched + ~playing,
            played=played,
            choice=jnp.where(playing, (state.choice + turn) % SUITS, state.choice),
            right=right,
            score=percent(right * params.right_reward),
        )
        return state, jnp.where(correct, params.right_reward, 0.0).astype(jnp.float32), played == self.cards

    def glimpse(self, state: AutoEncodeState) -> AutoEncodeGlimpse:
        """Read the table."""
        order = np.arange(self.cards)
        shown = not self.partial_obs
        return AutoEncodeGlimpse(
            score=state.score,
            card=card_table.card_at(state.deck, state.watched),
            choice=state.choice,
            history=jnp.where((order <= state.watched) & shown, state.deck.astype(jnp.int32), card_table.NONE),
            crossed=(self.cards - state.played <= order) & shown,
        )

    def draw(self, state: AutoEncodeState) -> jax.Array:
        """Show the table."""
        table = self.layout
        seen = self.glimpse(state)
        history = seen.history - card_table.NONE + SUITS * seen.crossed
        return table.screen.render(
            table.screen.score(seen.score),
            card_table.show_card(table.left_card, seen.card),
            card_table.show_card(table.right_card, seen.choice),
            *([] if self.partial_obs else [table.history.fill(table.lines(history))]),
        )

    def expert_action(self, key: jax.Array, state: AutoEncodeState, params: AutoEncodeParams) -> jax.Array:
        """Turn to the right suit the shorter way and fire."""
        ahead = (card_table.card_at(state.deck, self.cards - 1 - state.played) - state.choice) % SUITS
        return jnp.asarray(np.array([Action.FIRE, Action.RIGHT, Action.RIGHT, Action.LEFT], np.int32))[ahead]

    @functools.cached_property
    def layout(self) -> card_table.Table:
        """The screen of this view, laid out once."""
        return card_table.Table(self.obs_size, type(self).__name__, self.cards, SUITS, "DEALT", "NAME")
