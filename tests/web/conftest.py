"""A page for the tests of exported modules."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from popgym_arcade.web import export
from popgym_arcade.web.emitter import Module

# What a test needs of JavaScript: modules from their text, and values that JSON can carry.
TOOLS = """() => {
  const ARRAYS = { bool: Uint8Array, int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array,
    int32: Int32Array, uint32: Uint32Array, float32: Float32Array };
  window.load = (text) => import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  window.number = (x) => (typeof x === "string" ? Number(x.replace("inf", "Infinity")) : x);
  window.enter = (x) => Array.isArray(x) ? x.map(enter) : "dtype" in x
    ? Array.isArray(x.value) ? ARRAYS[x.dtype].from(x.value.map(number)) : number(x.value)
    : Object.fromEntries(Object.entries(x).map(([name, value]) => [name, enter(value)]));
  window.spell = (x) => ArrayBuffer.isView(x) ? [...x].map(spell) : Array.isArray(x) ? x.map(spell) : typeof x === "object"
    ? Object.fromEntries(Object.entries(x).map(([name, value]) => [name, spell(value)]))
    : typeof x === "number" && !Number.isFinite(x) ? String(x).replace("Infinity", "inf").replace("NaN", "nan") : x;
}"""


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A blank page with these tools, on an address that counts as safe, as digests ask for one."""
    opened = browser.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.route("https://arcade.test/", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    opened.goto("https://arcade.test/")
    opened.evaluate(TOOLS)
    yield opened
    opened.close()
    assert complaints == []


@pytest.fixture
def text_of(page: Any) -> Callable[[Module], str]:
    """Returns the text of a module that finds the runtime without a server."""
    runtime = (export.PAGE / "runtime.js").read_text()
    url = page.evaluate("text => URL.createObjectURL(new Blob([text], { type: 'text/javascript' }))", runtime)

    def source(module: Module) -> str:
        module.runtime = url
        return module.source()

    return source
