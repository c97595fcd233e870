"""The documentation against the code: pages, figures, animations, links, and the example of a game."""

import contextlib
import io
import json
import pathlib
import re
import shlex
import tomllib
from typing import Any

import jax
import numpy as np
import pytest

import popgym_arcade
from docs import make
from popgym_arcade import baselines, cli, environments, registration, testing
from popgym_arcade.baselines import agents
from popgym_arcade.baselines.training import command
from popgym_arcade.baselines.training import config as configs

ROOT = make.DOCS.parent
REPOSITORY = "https://ADDRESS/blob/main/"
TEXTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *sorted(make.DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Each snippet of the README runs alone, see test_readme.py.
WITH_CODE = [path for path in TEXTS[1:] if "```python\n" in path.read_text()]
GIFS = [make.GALLERY / f"{make.slug(game)}-{player}.gif" for game in environments.GAMES for player in make.PLAYERS]
GIFS += [make.GALLERY / f"{make.slug(game)}-agent.gif" for game in environments.GAMES if make.agent(game)]
GIFS.append(make.GALLERY / "your-own-game.gif")


def test_pages_say_what_the_code_says() -> None:
    pages = make.pages()
    assert set(pages) == {*make.PAGES.iterdir(), make.MEMORY, make.RESULTS, make.TRAINING, make.README}
    for path, text in pages.items():
        assert path.read_text() == text, f"{path.name} is stale: run `python -m docs.make --pages`"


def test_the_command_of_an_agent_has_all_its_settings() -> None:
    trained = [json.loads(path.read_text()) for path in agents.FOLDER.glob("*/config.json")]
    trained += [json.loads(path.read_text())["config"] for path in make.ENTRIES.glob("*.json")]
    for config in trained:
        first = configs.from_dict(config | {"num_seeds": 1})
        chosen = command.parse(shlex.split(make.command(config))[2:])
        assert chosen.agent == first
    assert len({bool(make.unlike_preset(config)) for config in trained}) == 2


@pytest.mark.parametrize("game", environments.GAMES, ids=lambda game: game.__name__)
def test_docstrings_say_it_all(game: make.Game) -> None:
    summary, told = make.sections(game)
    assert re.fullmatch(r"[A-Z].*\.", summary)
    assert {"MDP frame", "POMDP frame", "Memory", "Memory length", "Winning"} <= set(told)
    assert {"End", "Reward"} <= set(told) or "Rules" in told
    for text in told.values():
        assert text.endswith(".")
        assert not set(text) & set("|<>")  # these mean something in Markdown


def test_every_field_of_a_state_says_who_sees_it() -> None:
    for game in environments.GAMES:
        _, state = jax.eval_shape(game().reset, jax.random.key(0))
        docs = make.field_docs(type(state))
        assert list(docs) == list(vars(state))
        for name, text in docs.items():
            assert re.search("public|hid|never shown", text, re.IGNORECASE), f"{game.__name__}: {name}"


@pytest.mark.parametrize("path", GIFS, ids=lambda path: path.stem)
def test_animations(path: pathlib.Path) -> None:
    image = pytest.importorskip("PIL.Image")
    assert path.stat().st_size < 150_000
    with image.open(path) as film:
        assert film.size == (2 * 128 + 4, 128 + 13)
        assert film.n_frames > 2
        assert film.info["loop"] == 0


def test_the_gallery_is_complete_and_small() -> None:
    assert sorted(make.GALLERY.iterdir()) == sorted(GIFS)
    assert sum(path.stat().st_size for path in make.DOCS.rglob("*.gif")) < 4_000_000


@pytest.mark.slow
@pytest.mark.parametrize("player", make.PLAYERS)
@pytest.mark.parametrize("game", environments.GAMES, ids=lambda game: game.__name__)
def test_animations_show_what_the_code_plays(game: make.Game, player: str) -> None:
    image = pytest.importorskip("PIL.Image")
    frames = make.episode_frames(game(), player)
    with image.open(make.GALLERY / f"{make.slug(game)}-{player}.gif") as film:
        first = np.asarray(film.convert("RGB"))
        film.seek(film.n_frames - 1)
        last = np.asarray(film.convert("RGB"))
    for shown, played in ((first, frames[0]), (last, frames[-1])):
        # A processor that rounds otherwise may move CartPole's arrows by a pixel.
        assert np.mean(shown != played) < 0.01


def test_links_lead_somewhere() -> None:
    """To files and headings that there are: from docs/ to docs/ alone, as a site has no other files."""
    found, broken = 0, []
    for path in TEXTS:
        text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text):
            found += 1
            if not _leads_somewhere(path, link):
                broken.append(f"{path.relative_to(ROOT)}: {link}")
    assert not broken
    assert found > 200


def _leads_somewhere(page: pathlib.Path, link: str) -> bool:
    if link.startswith(REPOSITORY):
        return (ROOT / link.removeprefix(REPOSITORY).partition("#")[0]).exists()
    if re.match(r"[a-z]+:", link):
        return True
    file, _, anchor = link.partition("#")
    target = (page.parent / file).resolve() if file else page
    if not target.exists() or (page.is_relative_to(make.DOCS) and not target.is_relative_to(make.DOCS)):
        return False
    return not anchor or anchor in _anchors(target)


def _anchors(page: pathlib.Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site name them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("memory.md", True),
        ("memory.md#a-scale-for-agents", True),
        ("#choices", True),
        (REPOSITORY + "README.md", True),
        ("nowhere.md", False),
        ("memory.md#nowhere", False),
        ("#nowhere", False),
        ("../README.md", False),
        (REPOSITORY + "nowhere", False),
    ],
)
def test_the_test_of_links_finds_broken_ones(link: str, leads: bool) -> None:
    assert _leads_somewhere(make.DOCS / "training.md", link) == leads


def test_the_site_has_all_pages() -> None:
    listed = re.findall(r"[:-] ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2], re.MULTILINE)
    assert sorted(listed) == sorted(str(path.relative_to(make.DOCS)) for path in make.DOCS.rglob("*.md"))


def test_the_reference_has_all_public_names() -> None:
    text = "".join(path.read_text() for path in TEXTS)
    described = set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    for package in (popgym_arcade, baselines):
        for name in set(package.__all__) - {"__version__", "registered_envs"}:
            assert f"{package.__name__}.{name}" in described


def test_blocks_are_marked() -> None:
    """What is marked otherwise is neither run nor parsed."""
    for path in TEXTS:
        for mark, block in BLOCK.findall(path.read_text()):
            assert mark in {"", "bibtex", "json", "python", "sh", "text"}, path
            assert mark != "json" or json.loads(block), path
            assert mark or not re.search("^(import|from|popgym-arcade|pip|make|python) ", block, re.MULTILINE), path


@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_runs(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """All Python of a page, from top to bottom, in an empty folder; it prints what a block of text after it says."""
    monkeypatch.setattr(registration, "_constructors", dict(registration._constructors))
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    printed = None
    for mark, block in BLOCK.findall(path.read_text()):
        if mark == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block, path.name, "exec"), namespace)
            printed = out.getvalue()
        elif mark == "text":
            # What the searches of promise 6 find depends a little on the machine.
            (said, found), (written, shown) = (_split_figures(text) for text in (printed or "", block))
            assert said == written
            np.testing.assert_allclose(found, shown, atol=0.1)
    assert namespace


def _split_figures(text: str) -> tuple[str, list[float]]:
    """Take the figures out of the line of promise 6."""
    before, line, figures = text.partition("promise 6")
    return before + line + re.sub(r"\d\.\d\d", "", figures), [float(each) for each in re.findall(r"\d\.\d\d", figures)]


def test_the_example_is_checked_in_full() -> None:
    assert "NOT checked" not in make.OWN_GAME.read_text().replace("`NOT checked`", "")


COMMANDS = [
    pytest.param(line, id=f"{path.relative_to(ROOT)}-{line}")
    for path in TEXTS
    for mark, block in BLOCK.findall(path.read_text())
    if mark == "sh"
    for line in block.splitlines()
    if re.match("popgym-arcade|pip|make|python", line)
]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Nothing is run, but all words are parsed by what would run."""
    monkeypatch.chdir(tmp_path)
    match shlex.split(line, comments=True):
        case ["popgym-arcade", "train", _, "--help"]:
            pass
        case ["popgym-arcade", "train", *words]:
            command.parse(words).agent.make_env()
        case ["popgym-arcade", "sweep", *words]:
            assert cli.main(["sweep", "--list", *words]) == 0
        case ["popgym-arcade", *words]:
            cli._parser().parse_args(words)
        case ["pip", "install", what]:
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert re.search(r"\[(\w+)\]", what)[1] in extras  # pyright: ignore[reportOptionalSubscript]
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case ["python", script, *_]:
            assert (ROOT / script).exists()
        case _:
            pytest.fail(f"not understood: {line}")


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 30


def test_the_complaints_on_the_page_are_those_of_the_check() -> None:
    table = make.OWN_GAME.read_text().partition("| what was written |")[2]
    source = re.sub(r'"\s*f?"', "", pathlib.Path(testing.__file__).read_text())  # joins strings that go over lines
    rows = [line.split("|")[2] for line in table.splitlines()[2:] if line.startswith("|")]
    assert len(rows) >= 10
    for row in rows:
        for complaint in re.findall(r"`([^`]+)`", row):
            assert complaint in source, complaint
