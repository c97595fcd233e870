"""Make the gallery and the games' pages: `python -m docs.make` (some minutes), or with names of games, of those alone.

It plays every game, with the expert and at random, and writes

    docs/gallery/*.gif          an episode of each, seen by both twins; one of the agent that comes with the package, and one
                                of the example in docs/your-own-game.md, too
    docs/games/*.md, *.svg      a page per game and an index, from the docstrings of the games and the returns that
                                `python benchmarks/references.py measure` has measured
    docs/memory.md              what memory is worth in each game
    docs/results.md             the table of the entries in results/
    docs/training.md            those of them that compare algorithms
    README.md                   the agents that come with the package

`python -m docs.make --pages` writes all but the gallery, in a second. Tests compare the pages with the code.
"""

import argparse
import ast
import collections
import inspect
import pathlib
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from docs import scale
from popgym_arcade import environments, experts, files, pictures, scores, terminal
from popgym_arcade.baselines import agents
from popgym_arcade.baselines.training import config as configs
from popgym_arcade.environment import LEVELS, Environment, view_name
from popgym_arcade.graphics import font, palette, shapes

DOCS = pathlib.Path(__file__).parent
GALLERY, PAGES = DOCS / "gallery", DOCS / "games"
MEMORY, RESULTS, TRAINING = DOCS / "memory.md", DOCS / "results.md", DOCS / "training.md"
README, ENTRIES = DOCS.parent / "README.md", DOCS.parent / "results"
OWN_GAME = DOCS / "your-own-game.md"
PLAYERS = {"expert": experts.expert, "random": experts.random_player}
Game = type[Environment[Any, Any]]

_CANDIDATES = 63
_HALF = 100  # frames from the start of a long episode, and from its end
_OBS_SIZE = 128
_PAUSE = 1_200  # milliseconds, on the first frame and on the last one
_SOURCE = "https://ADDRESS/blob/main"
_MADE = "<!-- Made by docs/make.py from the docstrings of the code and from players/returns.json: edit those. -->"


def main() -> None:
    """Make what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("games", nargs="*", metavar="GAME", help="games to play, such as Navigator (default: all)")
    parser.add_argument("--pages", action="store_true", help="write the pages alone, from the figures that there are")
    options = parser.parse_args()
    names = [game.__name__ for game in environments.GAMES]
    if unknown := set(options.games) - set(names):
        parser.error(f"no such game: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if not options.pages:
        with terminal.Progress() as progress:
            for game in environments.GAMES:
                if game.__name__ in (options.games or names):
                    _play(game, progress)
            if not options.games:
                progress("the example: filming")
                _write(GALLERY / "your-own-game.gif", film(own_game()(obs_size=_OBS_SIZE), "random"))
    for path, text in pages().items():
        _write(path, text.encode())


def _play(game: Game, progress: terminal.Progress) -> None:
    """Film a game."""
    for player in PLAYERS:
        progress(f"{game.__name__}, {player}: filming")
        _write(GALLERY / f"{slug(game)}-{player}.gif", film(game(obs_size=_OBS_SIZE), player))
    if name := agent(game):
        progress(f"{game.__name__}, {name}: filming")
        _write(GALLERY / f"{slug(game)}-agent.gif", agent_film(name))


def _write(path: pathlib.Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        files.write_whole(path, content)


def agent(game: Game) -> str | None:
    """The name of the agent that comes with the package and plays the easiest level of a game, if there is one."""
    return agents.names().get(game.__name__ + LEVELS[0])


def slug(game: Game) -> str:
    """The name of a game's page and of its animations: that of its module."""
    return game.__module__.rpartition(".")[2]


# Films.


def film(env: Environment[Any, Any], player: str) -> bytes:
    """Film an episode as both twins see it: a GIF."""
    return _gif(episode_frames(env, player), env)


def agent_film(name: str) -> bytes:
    """Film an episode of median length of an agent that comes with the package: a GIF."""
    from popgym_arcade.baselines import evaluate, greedy, load
    from popgym_arcade.baselines.training import results

    model, config = load(name)
    env, params = config.make_env()
    key = jax.random.key(1)
    lengths = np.asarray(jax.jit(lambda key: evaluate(model, env, params, greedy, key, _CANDIDATES).length)(key))
    pairs = results.twin_frames(model, config, key, int(_median(lengths)), size=_OBS_SIZE)
    return _gif(_captioned(*map(np.stack, zip(*_ends(pairs), strict=True))), env)


def _gif(frames: list[np.ndarray], env: Environment[Any, Any]) -> bytes:
    # Short episodes at the pace at which a person plays, long ones faster. A GIF counts hundredths of a second.
    pace = 1_000 / (env.steps_per_second or 3)
    milliseconds = int(min(max(9_000 / len(frames), 60), pace)) // 10 * 10
    pause = _PAUSE // milliseconds
    return pictures.gif([frames[0]] * pause + frames + [frames[-1]] * pause, milliseconds)


def episode_frames(env: Environment[Any, Any], player: str) -> list[np.ndarray]:
    """Play an episode of median length and draw it, or its start and end: the MDP on the left, the POMDP on the right."""
    policy = PLAYERS[player](env)
    keys = jax.random.split(jax.random.key(1), _CANDIDATES)
    lengths = np.asarray(jax.jit(jax.vmap(lambda key: experts.play(env, policy, key).length))(keys))
    median = _median(lengths)

    # The keys of `experts.play`, so that it is the episode of that length.
    key_start, key_play = jax.random.split(keys[median])

    @jax.jit
    def turn(state: Any) -> Any:
        key_action, key_step = jax.random.split(jax.random.fold_in(key_play, state.time))
        action = policy(key_action, state, env.default_params)
        return env.step_env(key_step, state, action)[1]

    states = [env.reset(key_start)[1]]
    for _ in range(lengths[median]):
        states.append(turn(states[-1]))
    shown = jax.tree.map(lambda *leaves: jnp.stack(leaves), *_ends(states))
    return _captioned(*(np.asarray(jax.jit(jax.vmap(view.get_obs))(shown)) for view in (env, env.twin)))


def _median(lengths: np.ndarray) -> np.intp:
    return np.argsort(lengths, kind="stable")[len(lengths) // 2]


def _ends(steps: list[Any]) -> list[Any]:
    return steps if len(steps) <= 2 * _HALF else steps[:_HALF] + steps[-_HALF:]


def _captioned(mdp: np.ndarray, pomdp: np.ndarray) -> list[np.ndarray]:
    views = zip(_under("MDP", mdp), _under("POMDP", pomdp), strict=True)
    return [pictures.side_by_side(*pair) for pair in views]


def _under(caption: str, frames: np.ndarray) -> list[np.ndarray]:
    bar = shapes.tile(13, frames.shape[2], palette.EDGE)
    shapes.stencil(bar, palette.WHITE, font.text(caption, 7))
    return [np.concatenate([bar, frame]) for frame in frames]


def own_game() -> Game:
    """The game that docs/your-own-game.md writes."""
    namespace: dict[str, Any] = {}
    exec(compile(blocks(OWN_GAME)[0], str(OWN_GAME), "exec"), namespace)
    return namespace["Pairs"]


def blocks(page: pathlib.Path) -> list[str]:
    """The blocks of Python on a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


# Pages.


def pages() -> dict[pathlib.Path, str]:
    """Write the text of all pages and of their pictures, by their paths."""
    written = {}
    for game in environments.GAMES:
        written[PAGES / f"{slug(game)}.md"] = _page(game)
        rows = [(level, scores.references(game.__name__ + level)) for level in game.difficulties]
        written[PAGES / f"{slug(game)}.svg"] = scale.lines(rows)
    easy = [(game.__name__, scores.references(game.__name__ + LEVELS[0])) for game in environments.GAMES]
    written |= {PAGES / "README.md": _index(), PAGES / "all.svg": scale.lines(easy)}
    every, compared = _entries()
    parts = {RESULTS: {"entries": every}, TRAINING: {"algorithms": compared}, README: {"agents": _agents()}}
    return written | {MEMORY: _memory()} | {page: _filled(page, made) for page, made in parts.items()}


_FRAMES = ("MDP frame", "POMDP frame")
_LENGTH = "Memory length"
_NOT_RULES = {*_FRAMES, "Memory", _LENGTH, "Winning", "Source"}
_WHO = {
    "random": "takes all five actions with the same probability",
    "blind": "takes the actions of one fixed script in every episode, the best one found",
    "memoryless": "sees the present frame of the POMDP alone, the score included: the best policy found",
    "memory": "remembers all that the frames of the POMDP have shown",
    "expert": "sees the whole state",
}
_BOUNDS = "What was found for the blind and the memoryless player are lower bounds of what can be had that way."


def _page(game: Game) -> str:
    env = game()
    summary, told = sections(game)
    rules = {label: text for label, text in told.items() if label not in _NOT_RULES}
    pace = game.steps_per_second
    titles = {"expert": "The expert", "random": "A random player"}
    name = agent(game)
    if name:
        titles["agent"] = "A trained agent in the POMDP"
    films = [f"![{game.__name__}, {player}](../gallery/{slug(game)}-{player}.gif)" for player in titles]
    state = type(jax.eval_shape(env.reset, jax.random.key(0))[1])
    parts = [
        _MADE,
        f"# {game.__name__}",
        f"{summary} Names: {', '.join(f'`{game.__name__}{level}`' for level in game.difficulties)}. Version of the rules: "
        f"{game.version}.",
        f'<div><arcade-game game="{game.__name__}">On the site this game is played in the page.</arcade-game></div>',
        "[In a browser](../play.md) explains the controls.",
        _table(list(titles.values()), [films]),
        f"One episode of `{env.name}` each, in both views: the one of median length among {_CANDIDATES}. Of one longer than "
        f"{2 * _HALF} frames there are the first {_HALF} and the last {_HALF}.",
        *(_about(name) if name else []),
        "## Rules",
        _definitions(rules),
        f"A person plays it at {pace:g} steps per second." if pace else "The game waits for its player.",
        "Numbers with slashes are those of Easy / Medium / Hard. [All games](README.md) share the actions `0` up, `1` down, "
        "`2` left, `3` right, `4` fire.",
        "## What is seen",
        _definitions({label: told[label] for label in _FRAMES}),
        "## What must be remembered",
        _sentence(told["Memory"]),
        f"**How long.** {_sentence(told[_LENGTH])}",
        "## How to win",
        _sentence(told["Winning"]),
        "## Returns",
        f"![Mean returns of the reference players in {game.__name__}]({slug(game)}.svg)",
        _returns(game),
        f"{_players()} {_BOUNDS} The bar in the picture is [what memory is worth](../memory.md). Returns are undiscounted, "
        f"{_episodes(game)} each, with 95 % intervals.",
        "## Numbers",
        _numbers(game),
        "Numbers under `params` can be changed with `params.replace(...)`, the others follow from the difficulty.",
        "## State",
        " ".join((state.__doc__ or "").split()),
        _table(["field", "what it is, and who sees it"], [[f"`{name}`", doc] for name, doc in field_docs(state).items()]),
        *([f"Source: {told['Source']}"] if "Source" in told else []),
        f"Code: [`{slug(game)}.py`]({_SOURCE}/src/popgym_arcade/environments/{slug(game)}.py).",
    ]
    return "\n\n".join(parts) + "\n"


def command(config: dict[str, Any]) -> str:
    """Return the command that trains an agent that comes with the package."""
    own = {name: config[name] for name in ("env_id", "view", "memory", "seed")}
    options = (_option(name, value) for name, value in (own | unlike_preset(config)).items())
    return " ".join([f"popgym-arcade train {config['algorithm']} --preset cpu", *options])


def unlike_preset(config: dict[str, Any]) -> dict[str, Any]:
    """Return those settings of a config, names and values, that the preset `cpu` has otherwise."""
    own = {name: config[name] for name in ("algorithm", "env_id", "view", "memory", "seed", "num_seeds")}
    preset = configs.preset("cpu", config["algorithm"], config["env_id"], config["memory"])
    expected = configs.from_dict(own | preset)
    trained = configs.from_dict(config).to_dict()
    return {name: trained[name] for name in expected.differences(trained) if name != "env_version"}


def _option(name: str, value: Any) -> str:
    option = name.replace("_", "-")
    return f"--{'' if value else 'no-'}{option}" if isinstance(value, bool) else f"--{option} {value}"


def _about(name: str) -> list[str]:
    """Tell of an agent what it reaches, and the command that makes it."""
    evaluation = _evaluation(name)
    config, (result,) = evaluation["config"], evaluation["results"]
    low, high = (float(scores.memory_score(config["env_id"], end, partial_obs=True)) for end in result["interval"])
    return [
        f"The agent `{name}` comes with the package: {_kind(config)}, {config['total_timesteps'] / 1e6:g} million steps. "
        f"Its return is {_number(result['mean'])} in {result['episodes']} episodes, its [memory score](../memory.md) "
        f"{_number(result['memory_score'], 2)} ({_number(low, 2)} to {_number(high, 2)}). This makes it:",
        f"```sh\n{command(config)}\n```",
    ]


def _evaluation(name: str) -> dict[str, Any]:
    return files.read_json(agents.FOLDER / name / "evaluation.json")


def _kind(config: dict[str, Any]) -> str:
    return f"{config['algorithm'].upper()} with {config['memory']}"


def _agents() -> str:
    """The table of the agents that come with the package, for the README."""
    rows = []
    for game in environments.GAMES:
        if name := agent(game):
            evaluation = _evaluation(name)
            (result,) = evaluation["results"]
            films = [
                f"![{game.__name__}, {player}](docs/gallery/{slug(game)}-{player}.gif)" for player in ("expert", "agent")
            ]
            numbers = [_number(result["mean"], 2), f"**{_number(result['memory_score'], 2)}**"]
            link = f"[{game.__name__}{LEVELS[0]}](docs/games/{slug(game)}.md)"
            rows.append([link, *films, f"`{name}`, {_kind(evaluation['config'])}", *numbers])
    return _table(["", "the expert", "the agent, who sees the POMDP", "agent", "return", "memory score"], rows)


def _index() -> str:
    rows = []
    for game in environments.GAMES:
        reached = scores.references(game.__name__ + LEVELS[0])
        page, name = f"{slug(game)}.md", game.__name__
        rows.append(
            [
                f"[![{name}](../gallery/{slug(game)}-expert.gif)]({page})",
                f"**[{name}]({page})**<br>{sections(game)[0]}",
                *(_number(reached[player].mean, 2) for player in scores.PLAYERS),
            ]
        )
    parts = [
        _MADE,
        "# The games",
        "In each animation the expert plays; the MDP is on the left and its twin, the POMDP, on the right. The last columns "
        f"are mean returns of the reference players in `{LEVELS[0]}`.",
        _table(["", "", *scores.PLAYERS], rows),
        "![Mean returns of the reference players in all games](all.svg)",
        f"{_players()} {_BOUNDS} [Does it need memory?](../memory.md) tells how they were found, and has all difficulties.",
        f"Each game comes in {', '.join(f'`{level}`' for level in LEVELS)}; its name is put together of both, as in "
        f"`{environments.GAMES[-1].__name__}{LEVELS[-1]}`.",
        "**Actions.** `0` up, `1` down, `2` left, `3` right, `4` fire; those that a game has no use for do nothing.",
        "**Score.** At the top of every frame stands the return so far in percent.",
        "**Your own.** [Write your own game](../your-own-game.md).",
    ]
    return "\n\n".join(parts) + "\n"


def _memory() -> str:
    """The page that explains the sixth promise, with its tables made anew."""
    rows, keeping = [], []
    for game in environments.GAMES:
        for level in game.difficulties:
            found = scores.references(game.__name__ + level)
            floor, one = scores.scale(game.__name__ + level, partial_obs=True)
            means = [_number(found[player].mean) for player in (*scores.PLAYERS, "best")]
            rows.append([f"[{game.__name__}{level}](games/{slug(game)}.md)", *means, f"**{_number(one - floor)}**"])
        told = sections(game)[1]
        link = f"[{game.__name__}](games/{slug(game)}.md)"
        keeping.append([link, *(_sentence(told[label], "games/") for label in (_LENGTH, "Memory"))])
    parts = {
        "players": "\n".join(f"- The **{name}** player {what}." for name, what in _WHO.items()),
        "returns": _table(["", *scores.PLAYERS, "memory, shown the MDP", "memory is worth"], rows),
        "lengths": _table(["", "how long", "what must be kept"], keeping),
    }
    return _filled(MEMORY, parts)


def _entries() -> tuple[str, str]:
    """The table of the entries, what each has taken and come to, and that of what several algorithms have learned."""
    from popgym_arcade.results import reading, statistics

    found, _ = reading.read_results([ENTRIES])
    groups = statistics.grouped(found, lambda result: f"{result.algorithm.upper()}, {result.memory}")
    statistics.check_distinct(groups)
    known = scores.known()
    learned = collections.Counter((group[:2], seeds[0].memory) for group, seeds in groups.items())
    rows, compared = [], []
    for group in sorted(groups, key=lambda group: (group[1], known.index(group[0]))):
        env_id, partial_obs, agent = group
        seeds = groups[group]
        entry = files.read_json(seeds[0].path)
        own, above = statistics.score(group, seeds), statistics.above_none(groups, group)
        is_otherwise = "config" in entry and unlike_preset(entry["config"])
        rows.append(
            [
                env_id,
                view_name(partial_obs),
                f"{agent} †" if is_otherwise else agent,
                str(len(seeds)),
                f"{entry['steps'] / 1e6:.1f} M",
                f"{entry['train_cpu_seconds'] / len(seeds) / 60:.0f}" if "train_cpu_seconds" in entry else "",
                _number(statistics.mean_of([seed.returns for seed in seeds])),
                *(
                    f"{_number(each.value, 2)} ({_number(each.low, 2)} to {_number(each.high, 2)})" if each else ""
                    for each in (own, above)
                ),
            ]
        )
        if learned[group[:2], seeds[0].memory] > 1:
            compared.append(rows[-1])
    header = ["game", "view", "agent", "seeds", "steps", "CPU minutes a seed", "return", "memory score", "above no memory"]
    return _table(header, rows), _table(header, compared)


def _filled(page: pathlib.Path, parts: dict[str, str]) -> str:
    """The text of a page in which the parts between comments that name them are made anew."""
    text = page.read_text()
    for name, part in parts.items():
        start, end = f"<!-- made: {name} -->\n", "\n<!-- end -->"
        before, _, after = text.partition(start)
        text = f"{before}{start}{part}{after[after.index(end) :]}"
    return text


def _players() -> str:
    return " ".join(f"The {name} player {what}." for name, what in _WHO.items()).replace("The expert player", "The expert")


def sections(game: Game) -> tuple[str, dict[str, str]]:
    """Split the docstring of a game into its first sentence and its labelled paragraphs."""
    first, *labelled = re.split(r"^([A-Z][\w ]+): ", inspect.getdoc(game) or "", flags=re.MULTILINE)
    texts = [" ".join(text.split()) for text in labelled[1::2]]
    return " ".join(first.split()), dict(zip(labelled[::2], texts, strict=True))


def field_docs(cls: type) -> dict[str, str]:
    """The docstrings of the fields of a dataclass, in their order, "" where there is none; Python does not keep them."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = definition.body if isinstance(definition, ast.ClassDef) else []
        for statement, following in zip(body, [*body[1:], None], strict=True):
            match statement, following:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    docs[name] = " ".join(text.split())
                case ast.AnnAssign(target=ast.Name(name)), _:
                    docs[name] = ""
    return docs


def _returns(game: Game) -> str:
    rows = []
    for level in game.difficulties:
        for player in scores.PLAYERS:
            found = scores.references(game.__name__ + level)[player]
            spread = f"{_number(found.lowest)} to {_number(found.highest)}"
            interval = f"{_number(found.low)} to {_number(found.high)}"
            rows.append([level, player, _number(found.mean), interval, spread, f"{found.mean_length:.0f}"])
    return _table(["", "player", "mean return", "95 % interval", "lowest to highest", "mean steps"], rows)


def _episodes(game: Game) -> str:
    counts = {found.episodes for level in game.difficulties for found in scores.references(game.__name__ + level).values()}
    return f"{' or '.join(f'{count:,}' for count in sorted(counts))} episodes"


def _numbers(game: Game) -> str:
    envs = [game(difficulty=level) for level in game.difficulties]
    rows = []
    for name, member in vars(game).items():
        if isinstance(member, property) and name != "default_params":
            values = [_value(getattr(env, name)) for env in envs]
            rows.append([f"`env.{name}`", (member.__doc__ or "").partition("\n")[0], *values])
    for name, doc in field_docs(type(envs[0].default_params)).items():
        rows.append([f"`params.{name}`", doc, *(_value(getattr(env.default_params, name)) for env in envs)])
    return _table(["", "", *game.difficulties], rows)


def _value(value: Any) -> str:
    return ", ".join(f"{number:.4g}" for number in np.ravel(value).tolist())


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _sentence(text: str, folder: str = "") -> str:
    """Begin with a capital, and let games that are mentioned be links."""
    for game in environments.GAMES:
        text = text.replace(f"`{game.__name__}`", f"[{game.__name__}]({folder}{slug(game)}.md)")
    return text[0].upper() + text[1:]


def _definitions(paragraphs: dict[str, str]) -> str:
    return "\n\n".join(f"**{label}.** {_sentence(text)}" for label, text in paragraphs.items())


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


if __name__ == "__main__":
    main()
