"""The pages in a real browser: playing, watching, racing, logs; and what they promise to everybody."""

import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest

from docs import make
from popgym_arcade import baselines, registration, scores
from popgym_arcade.baselines import agents
from popgym_arcade.baselines.collect import action_scores
from popgym_arcade.play import log as logs
from popgym_arcade.play import loop
from popgym_arcade.play.session import Session
from popgym_arcade.web import export

GAMES = ("NavigatorEasy", "SkittlesEasy", "SkittlesMedium")
OWN = "Pairs"
"""The game of docs/your-own-game.md."""
ADDRESS = "https://arcade.test/"
NOTHING_ELSE = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
"""No eval, no other host."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    out = tmp_path_factory.mktemp("arcade")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registration, "_constructors", dict(registration._constructors))
        registration.register(OWN, make.own_game())
        assert list(export.write([*GAMES, OWN], out)) == [*GAMES, OWN, "pages"]
        yield out


@pytest.fixture
def served(browser: Any, site: pathlib.Path) -> Iterator[Any]:
    """Opens pages of the site; nobody may complain, and nothing may be asked of others."""
    complaints: list[str] = []
    contexts = []

    def serve(route: Any) -> None:
        path = site / route.request.url.removeprefix(ADDRESS).partition("?")[0]
        if not path.is_file():
            complaints.append(route.request.url)
        route.fulfill(path=path, headers={"Content-Security-Policy": NOTHING_ELSE, "Content-Type": _kind(path)})

    def open_page(name: str, **options: Any) -> Any:
        contexts.append(browser.new_context(**({"viewport": {"width": 1366, "height": 768}} | options)))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.route("**/*", serve)
        page.goto(ADDRESS + name)
        if not name.startswith("index"):
            page.wait_for_selector("arcade-game[ready]")
            page.locator("#stage").focus()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _kind(path: pathlib.Path) -> str:
    return {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}[path.suffix]


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def session(page: Any, what: str) -> Any:
    return page.evaluate(f"document.querySelector('arcade-game').session.{what}")


def until(page: Any, test: Callable[[], bool]) -> None:
    """Wait for something; the page's policy forbids Playwright's own way, which evaluates text again and again."""
    for _ in range(300):
        if test():
            return
        page.wait_for_timeout(100)
    pytest.fail("it did not happen in 30 seconds")


def shown(page: Any, view: str) -> np.ndarray:
    """What a canvas shows, uint8[128, 128, 3]."""
    pixels = page.locator(f"#{view} canvas").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    )
    return np.array(pixels, np.uint8).reshape(128, 128, 4)[..., :3]


MOVES = {"ArrowUp": 0, "ArrowDown": 1, "ArrowLeft": 2, "ArrowRight": 3, "Space": 4}
WAY = ["ArrowRight", "ArrowDown", "Space", "ArrowLeft", "ArrowUp", "ArrowDown", "ArrowDown"]


@pytest.mark.parametrize("env_id", ["NavigatorEasy", OWN])
def test_a_person_plays_the_game_of_popgym_arcade_play(env_id: str, served: Any) -> None:
    page = served(f"{env_id.removesuffix('Easy')}.html?seed=4000000000")
    press(page, *WAY, "b")
    known = Session(env_id, 4_000_000_000)
    for key in WAY:
        known.act(MOVES[key])
    assert session(page, "digest()") == known.digest()
    assert session(page, "total") == known.total
    for view, partial_obs in (("MDP", False), ("POMDP", True)):
        frame = known.frame(partial_obs)
        until(page, lambda view=view, frame=frame: np.array_equal(shown(page, view), frame))
    known.close()


def test_views_switch_in_mid_game(served: Any) -> None:
    page = served("Navigator.html?seed=5")

    def seen() -> list[str]:
        return [view for view in ("MDP", "POMDP") if page.locator(f"#{view}").is_visible()]

    until(page, lambda: seen() == ["MDP"])
    press(page, "ArrowRight", "t")
    until(page, lambda: seen() == ["POMDP"])
    assert session(page, "step") == 1
    press(page, "b")
    until(page, lambda: seen() == ["MDP", "POMDP"])
    until(page, lambda: page.locator("#toggleBoth").get_attribute("aria-pressed") == "true")
    press(page, "b", "T")
    until(page, lambda: seen() == ["MDP"])
    assert session(page, "step") == 1
    press(page, "r")
    until(page, lambda: session(page, "step") == 0 and page.locator("#seed").input_value() == "6")
    page.locator("#seed").fill("77")
    page.locator("#seed").press("Enter")
    until(page, lambda: session(page, "seed") == 77)


def test_logs_are_shown_here_and_there(served: Any, tmp_path: pathlib.Path) -> None:
    page = served("Navigator.html?seed=20")
    press(page, *WAY, "t", *WAY)
    with page.expect_download() as download:
        page.locator("#save").click()
    path = tmp_path / "log.jsonl"
    download.value.save_as(path)
    log = logs.read_log(path)
    [episode] = log.episodes
    assert [step.action for step in episode.steps] == [MOVES[key] for key in WAY] * 2
    assert [step.view for step in episode.steps] == ["MDP"] * 7 + ["POMDP"] * 7
    known = Session(log.game, episode.seed)
    for step in episode.steps:
        loop._repeat(log, known, step)
    loop._compare_ends(log, known, episode)

    written = tmp_path / "other.jsonl"
    known.begin(11)
    writer = logs.Writer(written, known)
    for number in range(12):
        writer.step(number % 5, known.act(number % 5), "both")
    writer.leave()
    known.begin(12)
    writer.step(3, known.act(3), "POMDP")
    writer.close()
    known.close()
    page.locator("#file").set_input_files(written)
    page.locator("#pace").fill("100")
    page.locator("#message").get_by_text("bit for bit").wait_for()
    assert session(page, "seed") == 12

    text = written.read_text()
    for spoilt, complaint in (
        (text.replace('"steps": 12', '"steps": 13'), "line 15: the episode ended with steps 13, now with 12"),
        (text.replace('"reward": ', '"reward": 7, "was": ', 1), "line 3: this step was rewarded with 7"),
        (text.replace("NavigatorEasy", "SkittlesEasy"), "line 1: this is a log of SkittlesEasy, not of Navigator"),
        (text.replace('"env_version": ', '"env_version": 9'), "line 1: this was played under version 9"),
        ("what is this\n", "line 1: this is not JSON"),
        ("[1]\n", "line 1: this is not a log"),
        ("\n".join(text.splitlines()[:1]) + "\n", "line 1: the file holds no step"),
    ):
        (tmp_path / "spoilt.jsonl").write_text(spoilt)
        page.locator("#file").set_input_files(tmp_path / "spoilt.jsonl")
        page.locator("#message").get_by_text(complaint).wait_for()


@pytest.mark.parametrize("x", [0.0078125, -0.0078125, 0.0234375, -0.9999995, 1 / 3, -2.5, 0.0, 1e-7, 0.1 + 0.2, 0.1234565])
def test_returns_are_rounded_as_in_python(x: float, page: Any) -> None:
    text = (
        (export.PAGE / "session.js").read_text().replace('"./runtime.js"', '"data:text/javascript,export let foldIn, key"')
    )
    assert page.evaluate("async ([text, x]) => (await load(text)).rounded(x)", [text, x]) == round(x, 6)


def test_games_that_run_begin_with_a_key_and_pause(served: Any) -> None:
    page = served("Skittles.html?seed=1")
    page.wait_for_timeout(400)
    assert session(page, "step") == 0
    page.locator("#pace").fill("50")
    page.locator("#stage").press("ArrowLeft")
    until(page, lambda: session(page, "step") > 3)
    page.locator("#stage").press("p")
    step = session(page, "step")
    page.wait_for_timeout(200)
    assert session(page, "step") == step
    until(page, lambda: "Paused" in page.locator("#message").inner_text())
    page.locator("#oneStep").click()
    assert session(page, "step") == step + 1
    page.locator("#stage").press("ArrowLeft")
    page.locator("#message").get_by_text("ended the episode").wait_for()


def test_the_expert_is_watched_and_the_agent_raced(served: Any) -> None:
    page = served("Skittles.html?seed=2")
    page.locator("#pace").fill("100")
    page.locator("#rival").select_option("agent")
    page.locator("#rival-figure").wait_for()
    page.locator("#player").select_option("expert")
    page.locator("#message").get_by_text("The clock ended the episode with a return of +1.000.").wait_for(timeout=60_000)
    assert page.locator("#rival-figure").is_visible()
    assert page.evaluate("document.querySelector('arcade-game').rival.session.seed") == 2
    page.locator("#player").select_option("agent")
    page.locator("#message").get_by_text("The trained agent, who sees the POMDP, plays.").wait_for()
    page.locator("#oneStep").click()
    until(page, lambda: page.locator("#values li").count() == 5)
    assert page.locator("#values .best").count() == 1
    page.locator("#player").select_option("agent")
    page.locator("#player").select_option("you")  # at once: the last choice counts, though the agent may come later
    page.wait_for_timeout(300)
    assert page.evaluate("document.querySelector('arcade-game').player") is None
    page.locator("#player").select_option("memory")
    until(page, lambda: session(page, "step") > 2)


@pytest.mark.parametrize("game", ["Navigator", "Skittles"])
def test_the_agent_has_the_values_of_the_network(game: str, served: Any) -> None:
    page = served(f"{game}.html?seed=3&view=pomdp")
    page.locator("#player").select_option("agent")
    page.locator("#message").get_by_text("The trained agent, who sees the POMDP, plays.").wait_for()
    page.locator("#oneStep").click()
    first = page.evaluate("[...document.querySelector('arcade-game').player.values]")
    steps = page.evaluate(
        """() => { const game = document.querySelector('arcade-game'), found = [];
        game.begin(3);
        for (let n = 0; n < 12; n++) { game.oneStep(); found.push([...game.player.values]); } return found; }"""
    )
    assert len(first) == 5
    network, config = baselines.load(agents.names()[f"{game}Easy"])
    env, _ = config.make_env()
    look = jax.jit(lambda *inputs: network(*inputs))
    known = Session(f"{game}Easy", 3)
    memory, last = network.initial_state(), 0
    for number, values in enumerate(steps):
        frame = env.get_obs(known.state)
        memory, output = look(memory, frame[None], np.array([last], np.int32), np.array([number == 0]))
        rated = np.asarray(action_scores(output)[0])
        # XLA adds float32 in another order; what is standardised in the encoder makes more of that.
        np.testing.assert_allclose(values, rated, atol=3e-5 * np.abs(rated).max())
        last = int(np.argmax(values))
        known.act(last)
        if known.end:
            break
    assert known.step > 3
    known.close()


def test_a_level_is_chosen(served: Any) -> None:
    page = served("Skittles.html?seed=3")
    page.locator("#level").select_option("SkittlesMedium")
    until(page, lambda: session(page, "game.about.id") == "SkittlesMedium")
    assert session(page, "seed") == 3
    assert "the trained agent" not in page.locator("#player").inner_text()


def test_the_scale_has_the_reference_players(served: Any) -> None:
    page = served("Navigator.html?seed=3")
    told = page.locator("#scale svg").get_attribute("aria-label")
    for name in ("random", "blind", "memoryless", "memory", "expert"):
        assert name in told
    until(page, lambda: page.locator("#score").inner_text() == "\N{EM DASH}")
    page.locator("#player").select_option("expert")
    page.locator("#pace").fill("100")
    page.locator("#message").get_by_text("ended the episode").wait_for()
    page.locator("#stage").focus()
    total = session(page, "total")
    for view in ("MDP", "POMDP"):
        score = float(scores.memory_score("NavigatorEasy", total, partial_obs=view == "POMDP"))
        shown = f"{score:+.2f}".replace("-", "\N{MINUS SIGN}")
        until(page, lambda shown=shown: page.locator("#score").inner_text() == shown)
        press(page, "t")


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def test_a_phone(served: Any) -> None:
    from playwright.sync_api import expect  # without it the browser's tests are skipped

    page = served("Navigator.html?seed=3&view=both", **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for number in range(5):
        button = page.locator(f"[data-action='{number}']")
        expect(button).to_be_in_viewport(ratio=1)  # the page has been laid out
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 44 and box["y"] + box["height"] < 844
        button.tap()
    until(page, lambda: session(page, "step") == 5)


def test_controls_have_names_and_show_the_focus(served: Any) -> None:
    page = served("Skittles.html")

    def names() -> list[str]:
        return page.evaluate(
            """() => [...document.querySelector('arcade-game').shadowRoot.querySelectorAll('button, select, input, canvas')]
            .filter((node) => node.checkVisibility())
            .map((node) => node.getAttribute('aria-label') || node.textContent.trim()
                || node.labels?.[0]?.textContent.trim())"""
        )

    until(page, lambda: len(names()) > 12 and all(names()))  # a picture has its name with its first frame
    reached = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => { const node = document.querySelector('arcade-game').shadowRoot.activeElement;
            return node && [node.id, getComputedStyle(node).outlineStyle]; }"""
        )
        if found:
            reached.add(found[0])
            assert found[1] == "solid", found
    assert {"switchView", "restart", "save", "level", "player", "rival", "seed"} <= reached


def test_keys_belong_to_the_page_where_the_game_has_no_focus(served: Any) -> None:
    page = served("Navigator.html")
    page.locator("h1").click()
    press(page, "ArrowUp", "t")
    assert session(page, "step") == 0 and page.locator("#MDP").is_visible()
    page.locator("#restart").focus()
    seed = session(page, "seed")
    press(page, "Space")  # the button's own key
    assert session(page, "seed") == (seed + 1) % 2**32


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(scheme: str, served: Any) -> None:
    for name in ("index.html", "Skittles.html"):
        page = served(name, color_scheme=scheme)
        colours = page.evaluate(
            """() => { const { color, backgroundColor } = getComputedStyle(document.body);
            return [color, backgroundColor, getComputedStyle(document.querySelector('nav a') ?? document.body).color]; }"""
        )
        ink, paper, link = ([int(each) for each in colour[4:-1].split(",")] for colour in colours)
        assert _contrast(ink, paper) > 7 and _contrast(link, paper) > 4.5


def _contrast(one: list[int], other: list[int]) -> float:
    """That of WCAG 2."""

    def luminance(colour: list[int]) -> float:
        parts = [each / 255 for each in colour]
        linear = [each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_the_start_page_moves_where_that_is_liked(motion: str, served: Any) -> None:
    page = served("index.html", reduced_motion=motion)
    canvas = page.locator("canvas").first
    until(page, lambda: canvas.get_attribute("width") == "128")
    look = "canvas => canvas.toDataURL()"
    first = canvas.evaluate(look)
    if motion == "reduce":
        page.wait_for_timeout(1000)
        assert canvas.evaluate(look) == first
        page.locator("button").click()
    until(page, lambda: canvas.evaluate(look) != first)
    assert page.locator("li a").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366


def test_pages_are_light(site: pathlib.Path) -> None:
    shared = sum(path.stat().st_size for path in (site / "page").iterdir())
    for name in GAMES:
        own = [site / "games" / f"{name}.js", site / "players" / f"{name}.js"]
        assert shared + sum(path.stat().st_size for path in own) < 1_000_000
    for agent in (site / "agents").iterdir():
        assert agent.stat().st_size < 3_000_000
    for path in site.rglob("*.*"):
        text = path.read_text()
        assert "eval(" not in text and "new Function" not in text
        assert "http:" not in text.replace("http://www.w3.org", "") and "https:" not in text


def test_the_catalogue(site: pathlib.Path) -> None:
    games = json.loads((site / "page" / "games.js").read_text().partition("GAMES = ")[2].rstrip(";\n"))
    assert [each["game"] for each in games] == ["Navigator", "Skittles", OWN]
    easy, medium = games[1]["levels"]
    assert easy["agent"] == agents.names()["SkittlesEasy"] and medium["agent"] == ""
    assert easy["players"] == ["expert", "memory"]
    assert games[2]["levels"] == [{"id": OWN, "level": OWN, "players": ["expert"], "agent": ""}]
    assert games[0]["goal"] == registration.make("NavigatorEasy")[0].goal
