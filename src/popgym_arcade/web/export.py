"""What is exported: modules that play a game in both views, its players, and agents; and the pages around them.

OUT/
  index.html, GAME.html     the start page, and a page for each game
  page/                     what they share
  games/ENV_ID.js           a game: `about`, `reset`, `step`, `stepEnv`, `drawMdp`, `drawPomdp`
  players/ENV_ID.js         its players: `expert`, and a memory player's `begin` and `act`
  agents/NAME.js            an agent that comes with the package: `about`, `begin`, `act`
"""

import contextlib
import dataclasses
import html
import importlib.util
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

import popgym_arcade
from popgym_arcade import files, registration, scores
from popgym_arcade.baselines import agents
from popgym_arcade.environment import VIEWS, Environment
from popgym_arcade.players import reference
from popgym_arcade.web.emitter import Module
from popgym_arcade.web.values import UnsupportedError

PAGE = pathlib.Path(__file__).parent / "page"
_RUNTIME = "../page/runtime.js"
_KEY = np.zeros(2, np.uint32)
_STEP = """
// env.step: with the next episode's first state where this one ends.
export function step(key, state, action) {
  const next = stepEnv(key, state, action);
  const keys = split(key[0], key[1]);
  return { ...next, finalState: next.state, state: next.terminated || next.truncated ? reset(keys.slice(2)) : next.state };
}
"""


def game(env: Environment[Any, Any]) -> Module:
    """Export a game with its default params."""
    module, params, state = Module(_RUNTIME), env.default_params, env.state_like

    def step_env(key: Any, state: Any, action: Any) -> Any:
        _, state, reward, _, info = env.step_env(key, state, action, params)
        return {"state": state, "reward": reward, "terminated": info["terminated"], "truncated": info["truncated"]}

    module.text(_about(about(env)))
    module.add("reset", lambda key: env.reset(key, params)[1], _KEY, doc="env.reset: the first state of an episode.")
    module.add("stepEnv", step_env, _KEY, state, np.int32(0), doc="env.step_env: without automatic reset.")
    module.text(_STEP)
    for view in VIEWS:
        seen = _view(env, view)
        doc = "env.get_obs: RGB, row by row."
        module.add(f"draw{view.capitalize()}", lambda state, seen=seen: seen.get_obs(state), state, doc=doc)
    return module


def about(env: Environment[Any, Any]) -> dict[str, Any]:
    """Return what a page has to know of a game."""
    is_known = env.name in scores.known()
    return {
        "id": env.name,
        "game": _game_of(env.name),
        "goal": env.goal,
        "version": env.version,
        "size": env.obs_size,
        "clock": env.max_steps_in_episode,
        "pace": env.steps_per_second,
        "idle": int(env.idle_action),
        "state": {name: leaf.dtype.name for name, leaf in vars(env.state_like).items()},
        "returns": {name: scores.references(env.name)[name].mean for name in scores.PLAYERS} if is_known else {},
        "scale": {view: scores.scale(env.name, partial_obs=view == "pomdp") for view in VIEWS} if is_known else {},
        "made": {"popgym_arcade": popgym_arcade.__version__, "jax": jax.__version__},
    }


def players(env: Environment[Any, Any]) -> tuple[Module, list[str]]:
    """Export the players of a game that are fit for JavaScript: (module, those found of "expert" and "memory").

    The memory player is shown the POMDP.
    """
    module, params, state = Module(_RUNTIME), env.default_params, env.state_like
    found = []
    if type(env).expert_action is not Environment.expert_action:
        module.add("expert", lambda key, state: env.expert_action(key, state, params), _KEY, state, doc="Sees the state.")
        found.append("expert")
    seen = _view(env, "pomdp")
    # A game of others has no memory player, and some of ours call Python, as BattleShip's does.
    with contextlib.suppress(LookupError, UnsupportedError):
        player = reference.memory_player(seen, params)

        def act(key: Any, memory: Any, state: Any) -> Any:
            memory, action = player.act(key, memory, seen.glimpse(state))
            return {"memory": memory, "action": action}

        module.add("act", act, _KEY, player.memory, state, doc="The memory player, shown the POMDP.")
        module.add("begin", lambda: player.memory, doc="Its memory before its first glimpse.")
        found.append("memory")
    return module, found


def agent(name: str) -> Module:
    """Export an agent that comes with the package, or that of a run.

    Raises:
        ModuleNotFoundError: if the extra `baselines` is missing.
        OSError, ValueError: if it cannot be loaded; see `popgym_arcade.baselines.load`.
    """
    from popgym_arcade import baselines
    from popgym_arcade.baselines.collect import action_scores

    network, config = baselines.load(name)
    env, _ = config.make_env()
    module = Module(_RUNTIME)

    def act(memory: Any, state: Any, lastAction: Any, start: Any) -> Any:  # noqa: N803, as it is called in JavaScript
        memory, output = network(memory, env.get_obs(state)[None], lastAction[None], start[None])
        return {"memory": memory, "values": action_scores(output)[0]}

    module.text(_about({"name": name, "id": env.name, "view": VIEWS[env.partial_obs]}))
    module.add("begin", network.initial_state, doc="The memory before the first frame.")
    doc = "Looks at a state's frame, and rates the actions; the last action is unused at a start."
    module.add("act", act, network.initial_state(), env.state_like, np.int32(0), np.bool_(True), doc=doc)
    return module


def write(env_ids: Sequence[str], out: pathlib.Path, obs_size: int = 128) -> Iterator[str]:
    """Write the pages of some games; yields what is being written.

    Raises:
        OSError: if a file cannot be written.
        UnsupportedError: if a game does something that cannot be written in JavaScript.
    """
    known = agents.names() if importlib.util.find_spec("equinox") else {}
    games: dict[str, dict[str, Any]] = {}
    for env_id in env_ids:
        yield env_id
        env, _ = registration.make(env_id, obs_size=obs_size)
        told = {"id": env_id, "level": env_id.removeprefix(_game_of(env_id)) or env_id, "players": [], "agent": ""}
        _put(out / "games" / f"{env_id}.js", game(env).source(f"{env_id}, by popgym-arcade export-web."))
        module, told["players"] = players(env)
        if told["players"]:
            _put(out / "players" / f"{env_id}.js", module.source(f"Players of {env_id}, by popgym-arcade export-web."))
        if env_id in known:
            told["agent"] = known[env_id]
            source = agent(told["agent"]).source(f"{told['agent']}, by popgym-arcade export-web.")
            _put(out / "agents" / f"{told['agent']}.js", source)
        entry = {"game": _game_of(env_id), "page": type(env).__module__.rpartition(".")[2], "goal": env.goal, "levels": []}
        games.setdefault(entry["game"], entry)["levels"].append(told)
    yield "pages"
    for path in sorted(PAGE.iterdir()):
        if path.suffix in (".js", ".css"):
            _put(out / "page" / path.name, path.read_text())
    catalogue = json.dumps(list(games.values()), indent=1)
    _put(out / "page" / "games.js", f"// The games that there are.\nexport const GAMES = {catalogue};\n")
    _put(out / "index.html", (PAGE / "index.html").read_text())
    for name, entry in games.items():
        text = (PAGE / "game.html").read_text()
        _put(out / f"{name}.html", text.replace("{game}", html.escape(name)).replace("{goal}", html.escape(entry["goal"])))


def _put(path: pathlib.Path, text: str) -> None:
    files.write_whole(path, text.encode())


def _about(fields: dict[str, Any]) -> str:
    return f"export const about = {json.dumps(fields)};"


def _game_of(env_id: str) -> str:
    return next(name for name, levels in registration.by_game().items() if env_id in levels)


def _view(env: Environment[Any, Any], view: str) -> Environment[Any, Any]:
    return dataclasses.replace(env, partial_obs=view == "pomdp")
