"""Reference players: what can be had in a game at random, blind, without memory, and with a perfect one.

Four of them are given what the frames of one view tell, and nothing else (see `Player`):

- `random_player` takes all actions with the same probability.
- `blind_player` takes the actions of one fixed script, the best one found.
- `memoryless_player` sees the present frame alone, the score included, and may play at random: the best policy found.
- `memory_player` remembers all that its frames have shown.

The fifth is the expert, `popgym_arcade.experts.expert`, which looks at the whole state. What all five reach is measured:
see `popgym_arcade.scores`. What was found for the second and the third is a lower bound of what can be had that way.
"""

from popgym_arcade.players.player import Player, play
from popgym_arcade.players.reference import blind_player, memory_player, memoryless_player, random_player

__all__ = ["Player", "blind_player", "memory_player", "memoryless_player", "play", "random_player"]
