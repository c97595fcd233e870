"""The report, in a real browser."""

import base64
import dataclasses
import datetime
import html
import itertools
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import popgym_arcade
import popgym_arcade.baselines
from popgym_arcade import scores
from popgym_arcade.introspection import report
from popgym_arcade.introspection.subject import Subject, subject
from tests.introspection import known

CONFIG = {"ENV_NAME": "NavigatorEasy", "PARTIAL": False, "MEMORY_TYPE": "gru", "SEED": 0}
STEPS = 12


def agent(model: Any = None) -> Subject:
    return subject(model or known.small("gru"), CONFIG)


@pytest.fixture(scope="module")
def views() -> Any:
    return report.look(agent(), agent().other_view(), STEPS)


@pytest.fixture(scope="module")
def document(views: Any) -> str:
    return report.html(views)


@pytest.fixture
def page(browser: Any, document: str, tmp_path: pathlib.Path) -> Iterator[Any]:
    path = tmp_path / "report.html"
    path.write_text(document)
    opened = browser.new_page(viewport={"width": 1366, "height": 768})
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    opened.goto(path.as_uri())
    opened.wait_for_selector("html[data-ready]")
    yield opened
    opened.close()
    assert complaints == []


def label(page: Any) -> str:
    return page.inner_text("#label")


def picked(page: Any, view: str = "MDP") -> str:
    return page.inner_text(f'section[data-view="{view}"] .stage figure:nth-child(2) figcaption b')


def pixels(page: Any, selector: str) -> list[int]:
    return page.evaluate(
        "selector => { const canvas = document.querySelector(selector);"
        "return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]; }",
        selector,
    )


def test_keys_and_slider(page: Any) -> None:
    assert label(page) == f"Decision {(STEPS - 1) // 2} of 0\N{EN DASH}{STEPS - 1}"  # opens in the middle
    page.keyboard.press("End")
    for key, decision in (("ArrowLeft", 10), ("Home", 0), ("ArrowLeft", 0), ("Shift+ArrowRight", 10), ("End", 11)):
        page.keyboard.press(key)
        assert label(page).startswith(f"Decision {decision} "), key
    page.focus("#decision")
    page.keyboard.press("ArrowLeft")  # once, not once by the slider and once by the page
    assert label(page).startswith("Decision 10 ")
    page.fill("#decision", "4")
    assert label(page).startswith("Decision 4 ")
    for _ in range(2):
        page.keyboard.press("ArrowUp")
    assert picked(page) == picked(page, "POMDP") == "Frame 2"
    page.keyboard.press("Escape")
    assert "the most of the earlier ones" in page.inner_text('section[data-view="MDP"] .stage figure:nth-child(2)')
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    page.wait_for_function("document.getElementById('label').textContent.startsWith('Decision 2 ')")
    page.keyboard.press("Space")
    assert page.get_attribute("#play", "aria-pressed") == "false"


def test_mouse(page: Any) -> None:
    page.keyboard.press("End")
    cells = page.locator('section[data-view="POMDP"] .cell')
    assert cells.count() == STEPS
    cells.nth(3).click()
    assert picked(page) == picked(page, "POMDP") == "Frame 3"
    page.keyboard.press("Home")
    cells.nth(6).click()  # a frame that is yet to come
    assert label(page).startswith("Decision 6 ")
    chart = page.locator('section[data-view="MDP"] [data-plot="values"]')
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] * 596 / 606, "y": 30})
    assert label(page).startswith("Decision 11 ")
    matrix = page.locator('section[data-view="MDP"] [data-plot="noise"]')
    box = matrix.bounding_box()
    matrix.click(
        position={"x": box["width"] * (36 + 258 * 8.5 / STEPS) / 300, "y": box["height"] * (22 + 150 * 5.5 / STEPS) / 208}
    )
    assert label(page).startswith("Decision 8 ") and picked(page) == "Frame 5"
    density = page.locator('section[data-view="MDP"] [data-plot="density"]')
    box = density.bounding_box()
    density.click(position={"x": box["width"] * (36 + 258 * 0.5 / 9) / 300, "y": 60})
    assert picked(page) == "Frame 0"


def test_maps_lie_over_the_frames_that_they_belong_to(page: Any, views: Any) -> None:
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowRight")
    mdp = views[0]
    frame = mdp.episode.frames[7]
    shown = np.array(pixels(page, 'section[data-view="MDP"] .cell[data-frame="7"] .seen')).reshape(64, 64, 4)
    np.testing.assert_array_equal(shown[..., :3], frame)
    strength = mdp.recall.small[10, 7] / 255 * mdp.recall.scale[10, 7] / mdp.recall.scale[10].max()
    seen = np.array(pixels(page, 'section[data-view="MDP"] .cell[data-frame="7"] .map')).reshape(32, 32, 4)
    np.testing.assert_allclose(seen[..., 3], 255 * np.minimum(0.72, np.sqrt(strength)), atol=1.5)
    later = 'section[data-view="MDP"] .cell[data-frame="11"]'
    assert not any(pixels(page, f"{later} .map"))
    assert "later" in page.get_attribute(later, "class")
    page.keyboard.press("o")
    assert page.get_attribute("#maps", "aria-pressed") == "false"
    assert not page.is_visible('section[data-view="MDP"] .cell[data-frame="7"] .map')
    page.keyboard.press("o")
    page.keyboard.press("s")
    seen = np.array(pixels(page, 'section[data-view="MDP"] .cell[data-frame="0"] .map')).reshape(32, 32, 4)
    assert seen[..., 3].max() >= 183  # each frame by itself


def test_figures_in_words(page: Any, views: Any) -> None:
    page.keyboard.press("End")
    text = page.inner_text('section[data-view="MDP"]')
    episode = views[0].episode
    for value in episode.values[-1]:
        assert f"{value:.3f}".replace("-", "\N{MINUS SIGN}") in text
    assert "Q values over time" in text and "12 steps" in text
    assert "The agent was trained on the other view" not in text
    assert "The agent was trained on the other view" in page.inner_text('section[data-view="POMDP"]')
    norms = views[0].recall.l1[-1].sum(-1)
    assert f"{100 * norms[-1] / norms.sum():.0f} % of the recall" in text


def test_bars_start_at_zero(page: Any, views: Any) -> None:
    for view in views:
        every = view.episode.values
        low, high = min(0, every.min()), max(0, every.max())
        for decision in ("Home", "End"):
            page.keyboard.press(decision)
            row = every[0 if decision == "Home" else -1]
            name = "POMDP" if view.subject.env.partial_obs else "MDP"
            bars = page.eval_on_selector_all(
                f'section[data-view="{name}"] .track',
                """tracks => tracks.map(track => {
                    const all = track.getBoundingClientRect(), bar = track.firstChild.getBoundingClientRect();
                    return [(bar.left - all.left) / all.width, (bar.right - all.left) / all.width];
                })""",
            )
            ends = [[(end - low) / (high - low) for end in (min(value, 0), max(value, 0))] for value in row]
            np.testing.assert_allclose(bars, ends, atol=0.01)


def test_each_chart_says_what_it_shows_and_where_there_is_more(page: Any) -> None:
    sentences = page.locator('section[data-view="MDP"] .says')
    assert sentences.count() == 6  # values, film strip, values over time, recall density, contamination, its row
    for number in range(sentences.count()):
        sentence = sentences.nth(number)
        assert re.fullmatch(r"[A-Z][^.]+\. More", sentence.inner_text())
        page.evaluate("scrollTo(0, 0)")
        sentence.locator("a").click()
        target = page.locator(sentence.locator("a").get_attribute("href"))
        assert target.count() == 1 and page.evaluate("scrollY") > 0
        assert target.bounding_box()["y"] < 768


def test_on_a_phone_charts_stack_and_their_letters_can_be_read(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    section = page.locator('section[data-view="MDP"]')
    charts = section.locator("[data-plot]")
    boxes = [charts.nth(number).bounding_box() for number in range(charts.count())]
    assert len(boxes) == 4
    for one, below in itertools.pairwise(boxes):
        assert one["y"] + one["height"] <= below["y"]
    letters = section.locator("[data-plot] text")
    for number in range(letters.count()):
        assert letters.nth(number).bounding_box()["height"] >= 10  # pixels
    assert page.locator("nav").bounding_box()["height"] < 100
    # A click finds its decision in the narrow charts, too.
    box = boxes[0]
    charts.nth(0).click(position={"x": box["width"] * (40 + 286 * 3 / (STEPS - 1)) / 336, "y": 30})
    assert label(page).startswith("Decision 3 ")


def test_print(page: Any) -> None:
    page.emulate_media(media="print")
    assert not page.is_visible("#decision") and not page.is_visible("#play") and not page.is_visible(".keys")
    assert page.is_visible("#label")
    paper = page.pdf(prefer_css_page_size=True, print_background=True)
    assert 1 <= len(re.findall(rb"/Type /Page\b", paper)) <= 2
    page.set_viewport_size({"width": 1047, "height": 720})
    assert page.evaluate("document.documentElement.scrollWidth") <= 1047


@pytest.mark.parametrize("width", [1366, 800, 420])
def test_nothing_sticks_out(width: int, page: Any) -> None:
    page.set_viewport_size({"width": width, "height": 768})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_policies_and_short_episodes(browser: Any, tmp_path: pathlib.Path) -> None:
    model = known.policy("gru")
    config = {**CONFIG, "ENV_NAME": "CartPoleHard"}
    one = subject(model, config)
    mdp, pomdp = report.look(one, one.other_view(), 2)
    steps = mdp.episode
    mdp = mdp._replace(episode=dataclasses.replace(steps, asked=9, ended=True))
    path = tmp_path / "report.html"
    path.write_text(report.html([mdp, pomdp]))
    opened = browser.new_page()
    errors: list[Any] = []
    opened.on("pageerror", lambda error: errors.append(error))
    opened.goto(path.as_uri())
    opened.wait_for_selector("html[data-ready]")
    opened.keyboard.press("Home")
    text = opened.inner_text("main")
    assert "Action probabilities" in text and "The episode ended after 2 of 9 steps." in text
    assert text.count("The episode was cut off at 2 steps.") == 1
    assert not errors
    opened.close()


def test_the_document(document: str, views: Any) -> None:
    assert not re.search(r"https?:|src=\"|@import", document.replace("http://www.w3.org", ""))
    [content] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', document, re.DOTALL)
    data = json.loads(content)
    assert [view["view"] for view in data["views"]] == ["MDP", "POMDP"]
    for found, view in zip(data["views"], views, strict=True):
        cells = STEPS * (STEPS + 1) // 2
        assert len(base64.b64decode(found["maps"])) == cells * 32 * 32
        assert len(found["scale"]) == len(found["recall"]) == len(found["moved"]) == cells
        np.testing.assert_allclose(np.bincount(np.tril_indices(STEPS)[0], found["recall"]), 1, atol=2e-3)
        np.testing.assert_allclose(found["values"], view.episode.values, rtol=1e-3)


def test_run_version_and_date(views: Any) -> None:
    run = views[0].subject.about._replace(run="fir<st")
    named = [view._replace(subject=view.subject._replace(about=run)) for view in views]
    made = f"popgym-arcade {popgym_arcade.__version__}, {datetime.date.today().isoformat()}"
    assert f'<p class="soft" id="made">{made}</p>' in report.html(views)
    assert f'<p class="soft" id="made">Run fir&lt;st; {made}</p>' in report.html(named)


def test_the_page_says_what_the_docs_say(document: str) -> None:
    docs = (pathlib.Path(__file__).parents[2] / "docs" / "introspection.md").read_text()
    known = " ".join(re.sub(r"[*`]|^- ", "", docs, flags=re.MULTILINE).split())
    told = document.partition('<footer id="docs">')[2].partition('<p class="soft">')[0]
    paragraphs = [html.unescape(" ".join(text.split())) for text in re.findall(r"<(?:p|li)>(.*?)</", told, re.DOTALL)]
    assert len(paragraphs) == 9
    for paragraph in paragraphs:
        for sentence in re.split(r"(?<=[.?:]) ", paragraph):
            assert sentence in known


def test_size(document: str) -> None:
    """What 50 decisions take: the maps, which are the most of it, grow with the square."""
    assert len(document) * (50 * 51) / (STEPS * (STEPS + 1)) < 10e6


def test_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = report.show((known.small("gru"), CONFIG), 2, height=500)
    source = shown._repr_html_()
    assert source.startswith('<iframe srcdoc="&lt;!doctype html&gt;') and "height:500px" in source
    config = known.config("NavigatorEasy", seed=1)
    loaded: list[Any] = []

    def load(run: pathlib.Path, seed: int | None = None) -> Any:
        loaded.append((run, seed))
        return known.small("gru"), config

    monkeypatch.setattr(popgym_arcade.baselines, "load", load, raising=False)
    shown = report.show("RUN", 2, seed=1).document
    assert '"seed":1' in shown and "Run RUN; popgym-arcade" in shown
    assert loaded == [(pathlib.Path("RUN"), 1)]
    with pytest.raises(ValueError, match="cannot be combined with"):
        report.show((known.small("gru"), CONFIG), 2, seed=1)


@pytest.mark.usefixtures("unchecked")
def test_only_agents_are_shown() -> None:
    not_an_agent: Any = known.small("gru")
    with pytest.raises(TypeError, match="agent must be a run or \\(model, config\\), got QNetworkRNN"):
        report.show(not_an_agent)


def test_both_views_of_one_game() -> None:
    with pytest.raises(ValueError, match=r"one game in both views, not NavigatorEasy \(MDP\).*beside NavigatorEasy \(MDP\)"):
        report.look(agent(), agent(), 2)


def test_whole_episodes_have_a_memory_score(views: Any) -> None:
    view = views[0]
    total, env = view.episode.reward.sum(), view.subject.env
    for ended, score in ((True, scores.told(env.name, total, partial_obs=env.partial_obs)), (False, "")):
        assert report._data(view._replace(episode=dataclasses.replace(view.episode, ended=ended)))["score"] == score
