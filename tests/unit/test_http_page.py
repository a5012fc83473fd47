"""The page at /: what it may do, and, where a browser is there, what it does."""

import base64
import hashlib
import re
import shutil
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from playwright import sync_api
from vkrun.runtime.server.http.endpoints.page import PAGE
from vkrun.runtime.server.http.options import Options
from vkrun.runtime.server.jobs import Done, Progress, SlotInfo, Timings, Token, Usage
from vkrun.tests.unit.http_serving import asked, served, serving, words, workers

TEXT = PAGE.decode()
BROWSER = shutil.which("chromium")


def test_the_policy_lets_its_own_script_and_style_run_and_nothing_else() -> None:
    answer = asked(served(), "GET", "/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8" and answer.content == PAGE
    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    for tag in ("script", "style"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", TEXT, re.DOTALL)
        assert rules[f"{tag}-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"
    assert (rules["default-src"], rules["connect-src"], rules["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_it_asks_for_nothing_from_anywhere_else_and_reads_no_text_as_html() -> None:
    assert re.findall(r"(?:src|href)=[\"'](?!data:)", TEXT) == []
    assert set(re.findall(r"https?://[^\s\"'%]*", TEXT)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\sstyle=|\son\w+=", TEXT)


def test_there_is_none_where_none_is_wanted() -> None:
    assert asked(served(Options(page=False)), "GET", "/").status_code == 404


SAID = "Sure:\n\n```python\ndef add(a, b):\n    return a + b\n```\n\n**Done**, `add` <img src=x onerror=alert(1)>"


def spoken(job: Any) -> Iterator[Any]:
    """Slowly enough to be seen; on and on where the prompt asks for it."""
    n = len(job.ids)
    yield Progress(n // 2, n // 3, n)
    yield 0.05
    endless = "endless" in words()[0].decode(job.ids)
    ids = words()[0].encode("word " * 2000 if endless else SAID, bos=False)
    for i in ids:
        yield Token(i, words()[0].token_bytes(i).decode())
        yield 0.02
    yield Done("stop", Usage(n, n // 3, len(ids)), Timings(0.0, 0.1, 0.02 * len(ids)))


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    if BROWSER is None:
        pytest.skip("no chromium on PATH: `apt-get install chromium` brings it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """The page in a tab; `wrong` is all that the browser complained of."""

    def __init__(self, tab: sync_api.Page, base: str) -> None:
        self.tab, self.wrong = tab, []
        tab.on("console", lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        tab.on("request", lambda r: None if r.url.startswith((base, "data:")) else self.wrong.append(r.url))
        tab.goto(base)

    def say(self, text: str) -> None:
        self.tab.get_by_label("Message", exact=True).fill(text)
        self.tab.keyboard.press("Enter")

    @property
    def answers(self) -> sync_api.Locator:
        return self.tab.locator("article.assistant")

    def wait_done(self) -> None:
        self.tab.get_by_role("button", name="Send").wait_for()


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_chat_in_a_browser(browser: sync_api.Browser, scheme: Any, tmp_path: Any) -> None:
    ours = served(script=spoken)
    made = count(40, 5)
    workers(ours).slots = lambda: [SlotInfo(0, 0, 512, "a", 90, 60, 30, next(made)), SlotInfo(1, 0, 512)]  # type: ignore
    with serving(ours) as base:
        tab = browser.new_page(color_scheme=scheme, viewport={"width": 1180, "height": 780})
        page = Opened(tab, base)
        page.say("add two numbers")
        page.wait_done()
        assert page.answers.locator("pre code").inner_text() == "def add(a, b):\n    return a + b"
        assert page.answers.locator("strong").inner_text() == "Done"
        assert page.answers.locator("img").count() == 0 and "<img" in page.answers.inner_text()
        n = len(workers(ours).jobs[0].ids)
        assert f"{n - n // 3} of {n} prompt tokens read, {n // 3} reused" in page.answers.inner_text()
        _regenerates_and_edits(page, ours)
        _stops(page, ours)
        sync_api.expect(tab.locator("#slots li")).to_have_count(2)
        sync_api.expect(tab.locator("#slots")).to_contain_text("of 512")
        assert 2 < float(tab.locator("#rate b").inner_text()) < 10  # 5 tokens at each look, one a second
        tab.screenshot(path=f"{tmp_path}/{scheme}.png")
        assert page.wrong == []
        tab.close()


def _regenerates_and_edits(page: Opened, ours: Any) -> None:
    tab = page.tab
    tab.get_by_role("button", name="Regenerate").click()
    page.wait_done()
    first, second = workers(ours).jobs[:2]
    assert first.ids == second.ids and page.answers.count() == 1
    tab.get_by_role("button", name="Edit").click()
    field = tab.get_by_label("Edited message")
    assert field.input_value() == "add two numbers"
    field.fill("add three numbers")
    field.press("Enter")
    page.wait_done()
    assert "three" in words()[0].decode(workers(ours).jobs[2].ids) and page.answers.count() == 1


def _stops(page: Opened, ours: Any) -> None:
    page.say("endless")
    sync_api.expect(page.answers.last).to_contain_text("word word")
    page.tab.get_by_role("button", name="Stop").click()
    page.wait_done()
    sync_api.expect(page.answers.last).to_contain_text("stopped")
    page.tab.wait_for_timeout(300)
    assert workers(ours).cancelled == [workers(ours).jobs[-1].id]
    assert "Sure" in words()[0].decode(workers(ours).jobs[-1].ids)  # the turn before


@pytest.mark.full
def test_a_key_is_asked_for_and_used(browser: sync_api.Browser) -> None:
    with serving(served(Options(keys=("sesame",)))) as base:
        page = Opened(browser.new_page(), base)
        sync_api.expect(page.tab.get_by_role("status")).to_contain_text("key")
        page.say("hello")
        sync_api.expect(page.answers).to_contain_text("none of this server's")
        page.tab.get_by_label("Key").fill("sesame")
        page.tab.get_by_label("Key").blur()
        page.tab.get_by_role("button", name="Regenerate").click()
        sync_api.expect(page.answers).to_contain_text("return a + b")
        page.tab.close()
