"""The games, one file each. Adding a game takes its file and a line here."""

from popgym_arcade.environments.autoencode import AutoEncode
from popgym_arcade.environments.battleship import BattleShip
from popgym_arcade.environments.breakout import Breakout
from popgym_arcade.environments.cartpole import CartPole
from popgym_arcade.environments.count_recall import CountRecall
from popgym_arcade.environments.minesweeper import MineSweeper
from popgym_arcade.environments.navigator import Navigator
from popgym_arcade.environments.noisy_cartpole import NoisyCartPole
from popgym_arcade.environments.skittles import Skittles
from popgym_arcade.environments.tetris import Tetris

GAMES = (CartPole, NoisyCartPole, CountRecall, AutoEncode, BattleShip, MineSweeper, Navigator, Breakout, Skittles, Tetris)
