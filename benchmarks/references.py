"""Search for the best players without memory, and measure what all reference players reach.

    python benchmarks/references.py search [ID ...]     # minutes for each id; writes src/popgym_arcade/players/found/
    python benchmarks/references.py evolve [ID ...]     # goes on with what was found, in another way
    python benchmarks/references.py measure [ID ...]    # writes src/popgym_arcade/players/returns.json

What a search finds replaces what was found before, if it is better: it can be given again, with another --seed.
"""

import argparse
import functools
import io
import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import popgym_arcade
from popgym_arcade import arguments, experts, files, players, scores, terminal
from popgym_arcade.arguments import seed_number
from popgym_arcade.environment import Action, Environment
from popgym_arcade.environments.battleship import HIT, MISS, BattleShip
from popgym_arcade.environments.minesweeper import COVERED, MINE, MineSweeper
from popgym_arcade.players import features, reference, search

_LONGEST = 300
"""Steps of an episode to learn from: without memory none of the longer games lasts that long."""
_HIDDEN = 32
_JUDGED = 4_096
"""Episodes by which what was found is compared with what was found before: other ones than those it was chosen by."""


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("search", "evolve", "measure"))
    parser.add_argument(
        "ids", nargs="*", type=arguments.env_id, metavar="ID", help="environments, such as NavigatorEasy (default: all)"
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="of the search (default: 0)")
    parser.add_argument("--iterations", type=int, default=192, help="of each search (default: 192)")
    parser.add_argument("--episodes", type=int, help="in an iteration, or to measure (default: 512, evolve 64; 2000)")
    options = parser.parse_intermixed_args()
    with terminal.Progress() as progress:
        for env_id in options.ids or popgym_arcade.registered_envs:
            if options.what == "measure":
                _measure(env_id, options.episodes or 2_000, progress)
            else:
                evolves = options.what == "evolve"
                episodes = options.episodes or (64 if evolves else 512)
                _search(env_id, evolves, options.seed, options.iterations, episodes, progress)


# Searching.


def _search(env_id: str, evolves: bool, seed: int, iterations: int, episodes: int, progress: terminal.Progress) -> None:
    env, params = popgym_arcade.make(env_id, partial_obs=True)
    horizon = min(int(params.max_steps_in_episode), _LONGEST)
    path = reference.FOUND / f"{env_id}.npz"
    kept: dict[str, np.ndarray] = {}
    if path.exists():
        with np.load(path) as file:
            kept = dict(file)
    for name, rate, spread in (("blind", 0.05, 1.0), ("memoryless", 0.02, 0.1)):
        began = time.monotonic()

        def report(iteration: int, total: float, name: str = name, began: float = began) -> None:
            took = time.monotonic() - began
            progress(f"{env_id}, {name}: {total:.3f} after {iteration} of {iterations}, {took:.0f} s")

        old = {key: leaf for key, leaf in kept.items() if (key == "script") == (name == "blind")}
        start = _scripts(env, horizon) if name == "blind" else _networks(env, seed)
        settings: dict[str, Any] = {"iterations": iterations, "episodes": episodes, "report": report}
        if evolves:
            start = start._replace(weights=_unpacked(name, old)) if old else start
            found = search.evolve(env, start, jax.random.key(seed), spread=spread, **settings)
        else:
            found = search.search(env, start, jax.random.key(seed), horizon=horizon, learning_rate=rate, **settings)
        new = _packed(name, found.weights)
        judged = [_judge(env, name, each) if each else -np.inf for each in (new, old)]
        kept |= new if judged[0] > judged[1] else old
        print(f"{env_id}, {name}: found {judged[0]:.4f}, before {judged[1]:.4f}, {time.monotonic() - began:.0f} s")
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **kept)
        files.write_whole(path, file.getvalue())


def _scripts(env: Environment[Any, Any], horizon: int) -> search.Policy:
    """Where a search for a blind player starts."""
    policy = search.scripts(horizon)
    if isinstance(env, BattleShip):
        return policy._replace(weights=_unpacked("blind", {"script": _to_and_fro(env.side, horizon)}))
    return policy


def _networks(env: Environment[Any, Any], seed: int) -> search.Policy:
    """Where a search for a memoryless player starts."""
    first = _round_trip(env) if isinstance(env, BattleShip | MineSweeper) else None
    return search.networks(functools.partial(features.features, env), features.size(env), _HIDDEN, first, seed)


def _round_trip(env: BattleShip | MineSweeper) -> np.ndarray:
    """Fire at cells of which nothing is known, else go on, line by line and back along the first column.

    Around a hit the wasted shots say in which direction to look, and, after a miss, where to come back from.
    """
    action = np.eye(5, dtype=np.float32)
    way = np.where(np.arange(env.side)[:, None] % 2, Action.LEFT, Action.RIGHT).repeat(env.side, 1)
    way[:-1:2, -1] = way[1:-1:2, 1] = Action.DOWN
    way[1:, 0] = Action.UP
    if isinstance(env, MineSweeper):
        numbers = [3 * action[way]] * (MINE - COVERED)
        return features.map_of_cells(
            env, np.stack([5 * action[np.full_like(way, Action.FIRE)], *numbers], 2), np.zeros((0, 5))
        )
    known = 3 * action[way] - 6 * action[Action.FIRE]
    by_cell = np.stack([5 * action[Action.FIRE] + 3 * action[way], known, known], 2)
    by_count = np.zeros((env.max_wasted + 1, 3, 5), np.float32)
    for wasted, marks in enumerate(by_count):
        marks[HIT] = 3 * action[(Action.UP, Action.RIGHT, Action.DOWN, Action.LEFT)[wasted % 4]]
        marks[MISS] = 3 * action[(Action.RIGHT, Action.DOWN, Action.LEFT, Action.UP)[wasted % 4]]
    return features.map_of_cells(env, by_cell, by_count)


def _to_and_fro(side: int, length: int) -> np.ndarray:
    """Go to a corner, wherever the cursor starts, and from there over the inner cells to and fro, firing at each once."""
    script = [Action.UP, Action.LEFT] * (side - 1) + [Action.DOWN, Action.RIGHT, Action.FIRE]
    for line in range(side - 2):
        script += [Action.LEFT if line % 2 else Action.RIGHT, Action.FIRE] * (side - 3) + [Action.DOWN, Action.FIRE]
    return np.array((script + [Action.UP, Action.DOWN] * length)[:length])


def _packed(name: str, weights: Any) -> dict[str, np.ndarray]:
    """What is kept of a policy: its script, or its weights with half the bits."""
    if name == "blind":
        return {"script": np.asarray(jnp.argmax(weights[:, :5], 1), np.uint8)}
    return {key: np.asarray(leaf, np.float16) for key, leaf in weights.items()}


def _unpacked(name: str, kept: dict[str, np.ndarray]) -> Any:
    """The weights of a policy that was kept; `_packed` the other way round."""
    if name == "blind":
        return 3.0 * jax.nn.one_hot(kept["script"], 6)
    return {key: jnp.asarray(leaf, jnp.float32) for key, leaf in kept.items()}


def _judge(env: Environment[Any, Any], name: str, kept: dict[str, np.ndarray]) -> float:
    player = reference.player_of_script(kept) if name == "blind" else reference.player_of_weights(env, kept)
    return measure(env, player, _JUDGED, seed=99)["mean"]


# Measuring.


def _measure(env_id: str, episodes: int, progress: terminal.Progress) -> None:
    mdp, _ = popgym_arcade.make(env_id)
    pomdp = mdp.twin
    found = {}
    everyone = {
        "random": lambda: measure(pomdp, players.random_player(pomdp), episodes),
        "blind": lambda: measure(pomdp, players.blind_player(pomdp), episodes),
        "memoryless": lambda: measure(pomdp, players.memoryless_player(pomdp), episodes),
        "memory": lambda: measure(pomdp, players.memory_player(pomdp), episodes),
        "best": lambda: measure(mdp, players.memory_player(mdp), episodes),
        "expert": lambda: _statistics(_all(lambda key: experts.play(mdp, experts.expert(mdp), key), mdp, episodes, 0)),
    }
    for name, figures in everyone.items():
        progress(f"{env_id}, {name}: playing {episodes} episodes")
        found[name] = figures()
    told = json.loads(scores.RETURNS.read_bytes()) if scores.RETURNS.exists() else {}
    told[env_id] = {"version": mdp.version, "players": found}
    ordered = {name: told[name] for name in popgym_arcade.registered_envs if name in told}
    files.write_whole(scores.RETURNS, (json.dumps(ordered, indent=1) + "\n").encode())
    print(env_id, {name: figures["mean"] for name, figures in found.items()})


def measure(env: Environment[Any, Any], player: players.Player, episodes: int, seed: int = 0) -> dict[str, float]:
    """Let a player play, and return the figures of `scores.Reference`."""
    return _statistics(_all(lambda key: players.play(env, player, key), env, episodes, seed))


def _all(play: Any, env: Environment[Any, Any], episodes: int, seed: int) -> experts.Episode:
    # BattleShip's memory player thinks only when it has seen something new, which a batch cannot make use of.
    batch = 1 if isinstance(env, BattleShip) else 250
    keys = jax.random.split(jax.random.key(seed), episodes)
    return jax.device_get(jax.jit(lambda keys: jax.lax.map(play, keys, batch_size=batch))(keys))


def _statistics(played: experts.Episode) -> dict[str, float]:
    totals = np.asarray(played.total, np.float64)
    error = 1.96 * totals.std(ddof=1) / np.sqrt(len(totals))
    found = scores.Reference(
        mean=totals.mean(),
        low=max(totals.mean() - error, -1.0),  # no return lies beyond
        high=min(totals.mean() + error, 1.0),
        lowest=totals.min(),
        highest=totals.max(),
        mean_length=float(np.mean(played.length)),
        episodes=len(totals),
    )
    return {name: round(float(value), 5) for name, value in found._asdict().items()} | {"episodes": len(totals)}


if __name__ == "__main__":
    main()
