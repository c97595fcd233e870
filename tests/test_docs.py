"""The documentation against the code: pages, figures, animations, links, and the example of a game."""

import ast
import contextlib
import io
import pathlib
import re
from typing import Any

import jax
import numpy as np
import pytest

from docs import make
from popgym_arcade import environments, registration, testing

ROOT = make.DOCS.parent
TEXTS = [ROOT / "README.md", *sorted(make.DOCS.rglob("*.md"))]
GIFS = [make.GALLERY / f"{make.slug(game)}-{player}.gif" for game in environments.GAMES for player in make.PLAYERS]
GIFS.append(make.GALLERY / "your-own-game.gif")


def test_pages_say_what_the_code_says() -> None:
    pages = make.pages()
    assert set(pages) == {*make.PAGES.iterdir(), make.MEMORY}
    for path, text in pages.items():
        assert path.read_text() == text, f"{path.name} is stale: run `python -m docs.make --pages`"


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


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: pathlib.Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for link in links:
        if not re.match(r"[a-z]+:|#", link):
            assert (path.parent / link.partition("#")[0]).exists(), f"{path.name}: {link}"


def test_what_pages_import_is_there() -> None:
    """Their longer snippets are not run, but what they import exists."""
    found = 0
    for path in TEXTS:
        for snippet in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
            for node in ast.walk(ast.parse(snippet)):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    exec(compile(ast.Module([node], []), str(path), "exec"), {})
                    found += 1
    assert found > 10


def test_the_example_does_what_its_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "_constructors", dict(registration._constructors))
    page = make.OWN_GAME.read_text()
    namespace: dict[str, Any] = {}
    printed = None
    for language, block in re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block, make.OWN_GAME.name, "exec"), namespace)
            printed = out.getvalue()
        else:
            # What the searches of promise 6 find depends a little on the machine.
            (said, found), (written, shown) = (_split_figures(text) for text in (printed or "", block))
            assert said == written
            np.testing.assert_allclose(found, shown, atol=0.1)
    assert "NOT checked" not in page.replace("`NOT checked`", "")


def _split_figures(text: str) -> tuple[str, list[float]]:
    """Take the figures out of the line of promise 6."""
    before, line, figures = text.partition("promise 6")
    return before + line + re.sub(r"\d\.\d\d", "", figures), [float(each) for each in re.findall(r"\d\.\d\d", figures)]


def test_the_complaints_on_the_page_are_those_of_the_check() -> None:
    table = make.OWN_GAME.read_text().partition("| what was written |")[2]
    source = re.sub(r'"\s*f?"', "", pathlib.Path(testing.__file__).read_text())  # joins strings that go over lines
    rows = [line.split("|")[2] for line in table.splitlines()[2:] if line.startswith("|")]
    assert len(rows) >= 10
    for row in rows:
        for complaint in re.findall(r"`([^`]+)`", row):
            assert complaint in source, complaint
