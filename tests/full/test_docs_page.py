"""The page /docs in a real browser: what it shows with a key and without, and whom it asks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from wherever_edge.host import LocalHost
from wherever_edge.oip.keys import KeyChecker, KeyStore
from wherever_edge.oip.service import InferenceService
from wherever_edge.packages.store import Store
from wherever_gateway.rest import RestFront

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]

PREDICT = "[id$='predict_patches']"


@pytest.fixture(scope="module")
def host(patches_package) -> Iterator[LocalHost]:
    with closing(LocalHost(Store([patches_package.root]), distance="cloud")) as host:
        yield host


@pytest.fixture
def serve(host) -> Iterator[Callable[..., str]]:
    fronts: list[RestFront] = []

    def start(**arguments: Any) -> str:
        service = InferenceService(host, {})
        more = {"address": "127.0.0.1", "port": 0, "max_bytes": 1 << 24, **arguments}
        front = RestFront(service, lambda: True, **more)
        front.start()
        fronts.append(front)
        return f"http://127.0.0.1:{front.port}"

    yield start
    for front in fronts:
        front.drain(0)


class Page:
    """The page in a browser, used as a person does."""

    def __init__(self, browser: Any, url: str) -> None:
        self._browser = browser
        browser.open(f"{url}/docs", 1200, "light")
        self.wait("!!document.querySelector('.opblock')")

    def wait(self, expression: str) -> None:
        ends = time.monotonic() + 20
        while not self._browser.value(expression):
            assert time.monotonic() < ends, self._browser.value("document.body.innerText")
            time.sleep(0.05)

    def shows(self, selector: str) -> bool:
        return self._browser.value(f"!!document.querySelector({selector!r})")

    def click(self, selector: str) -> None:
        self.wait(f"!!document.querySelector({selector!r})")
        self._browser.value(f"document.querySelector({selector!r}).click()")

    def type(self, selector: str, text: str) -> None:
        self.wait(f"!!document.querySelector({selector!r})")
        self._browser.value(f"document.querySelector({selector!r}).focus()")
        self._browser.ask("Input.insertText", text=text)

    def text(self, selector: str) -> str:
        return self._browser.value(f"document.querySelector({selector!r}).innerText")

    def try_out(self) -> str:
        """Have the page send the example of the model; the answer that it shows."""
        self.click(f"{PREDICT} .opblock-summary-control")
        self.click(f"{PREDICT} .try-out__btn")
        self.click(f"{PREDICT} .execute")
        self.wait(f"!!document.querySelector({PREDICT + ' .live-responses-table'!r})")
        self.wait(f"!!document.querySelector({PREDICT + ' .live-responses-table .microlight'!r})")
        return self.text(f"{PREDICT} .live-responses-table")

    def complaints(self) -> list[str]:
        """What the browser had to say: refused by the policy, not found, thrown."""
        said = []
        for event in self._browser.events:
            if event.get("method") == "Log.entryAdded":
                said.append(event["params"]["entry"]["text"])
            elif event.get("method") == "Runtime.exceptionThrown":
                said.append(str(event["params"]["exceptionDetails"]))
        return said

    def asked(self) -> list[str]:
        sent = [e for e in self._browser.events if e.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def keep_picture(self, name: str) -> None:
        if folder := os.environ.get("DOCS_PICTURES"):
            self._browser.picture(whole=True).save(Path(folder) / f"{name}.png")


def test_an_example_is_tried_out_and_nobody_else_is_asked(browser, serve):
    url = serve()
    page = Page(browser, url)
    assert not page.shows(".btn.authorize")
    answer = page.try_out()
    page.keep_picture("tried")
    assert '"label": "patch"' in answer
    assert page.complaints() == []
    assert [each for each in page.asked() if not each.startswith((url, "data:"))] == []


def test_models_appear_with_a_key_and_go_with_it(browser, serve, tmp_path):
    store = KeyStore(tmp_path)
    key = store.add("somebody")
    page = Page(browser, serve(keys=KeyChecker(store), keys_needed=True))
    assert not page.shows(PREDICT)
    page.keep_picture("stranger")
    page.click(".btn.authorize")
    page.type(".auth-container input", key)
    page.click(".auth-btn-wrapper button[type=submit]")
    page.wait(f"!!document.querySelector({PREDICT!r})")
    page.click(".auth-btn-wrapper .btn-done")
    assert '"label": "patch"' in page.try_out()
    page.keep_picture("authorized")
    page.click(".btn.authorize")
    page.click(".auth-btn-wrapper button:first-child")
    page.wait(f"!document.querySelector({PREDICT!r})")
    assert page.complaints() == []


def test_a_wrong_key_is_said_to_be_wrong(browser, serve, tmp_path):
    store = KeyStore(tmp_path)
    store.add("somebody")
    page = Page(browser, serve(keys=KeyChecker(store), keys_needed=True))
    page.click(".btn.authorize")
    page.type(".auth-container input", "whv_wrong_key")
    page.click(".auth-btn-wrapper button[type=submit]")
    page.wait("document.body.innerText.includes('API key')")
    page.keep_picture("wrong")
    assert not page.shows(PREDICT)
