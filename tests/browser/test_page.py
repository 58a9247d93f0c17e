"""The page in Chromium: the main path of every page, keys alone, no scripts, dark, a phone; and planted scripts.

Needs Debian's `chromium` (CHROMIUM names another) and pip's `playwright`; without either these are skipped. axe-core
comes from npm by `make test-page`, which checks its hash; without it the look for barriers is skipped.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import page_data
from tests.pages import running_page
from tests.spans import identifier

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
AXE = Path(__file__).parents[2] / "build" / "axe-core" / "axe.min.js"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
]

TRACE = f"/traces/{page_data.TRACE}"
PAGES = ("/", "/traces", TRACE, "/episodes", "/rewards", "/tools", "/runs", "/training", "/checkpoints", "/replay",
         "/prompts", "/sql?q=select+service_name,+count(*)+as+spans+from+spans+group+by+all")  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_page(page_data.make(tmp_path_factory.mktemp("browser") / "data")) as visitor:
        yield visitor.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Watched:
    """A tab that remembers what went wrong in it."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        self.tab = self.context.new_page()
        self.address = address
        self.problems: list[str] = []
        self.tab.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.problems.append(str(error)))
        self.tab.on("dialog", lambda dialog: self.problems.append(f"dialog {dialog.message}") or dialog.dismiss())
        self.tab.on("request", lambda request: self._check_request(request.url))

    def _check_request(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.problems.append(f"it asked for {url}")

    def open(self, path: str) -> Any:
        self.tab.goto(self.address + path)
        return self.tab

    def close(self) -> None:
        self.context.close()
        assert self.problems == []


@pytest.fixture
def watched(browser: Any, address: str) -> Iterator[Watched]:
    tab = Watched(browser, address)
    yield tab
    tab.close()


def is_clean(tab: Any) -> bool:
    """Tell whether no planted script ran and none stands in the page."""
    planted = 'document.querySelectorAll("img[onerror], script:not([src])").length'
    return bool(tab.evaluate(f"window.planted === undefined && {planted} === 0"))


@pytest.mark.parametrize("path", PAGES)
def test_every_page_in_light_and_dark_and_on_a_phone(browser: Any, address: str, path: str) -> None:
    """No planted script runs, nothing is asked of elsewhere, nothing is wider than the screen; axe finds no barrier."""
    for scheme, width in (("light", 1280), ("dark", 390)):
        seen = Watched(browser, address, color_scheme=scheme, viewport={"width": width, "height": 844})
        tab = seen.open(path)
        assert is_clean(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(16, 19, 26)") is (scheme == "dark")
        if AXE.exists():  # make test-page fetches it
            assert barriers(tab) == []
        seen.close()


def barriers(tab: Any) -> list[tuple[str, list[str]]]:
    """Return what a machine can tell of serious barriers: names, roles, contrast."""
    tab.evaluate(AXE.read_text())
    found = tab.evaluate("axe.run({resultTypes: ['violations']}).then((result) => result.violations)")
    grave = [rule for rule in found if rule["impact"] in {"serious", "critical"}]
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"][:3]]) for rule in grave]


def test_a_trace_by_keys_alone(watched: Watched) -> None:
    """Arrows walk and open the tree, Enter shows a span beside it."""
    tab = watched.open(f"{TRACE}?span={identifier('root', 16)}")
    tab.locator("[role=treeitem][tabindex='0']").focus()

    tab.keyboard.press("ArrowLeft")
    assert tab.locator("[role=treeitem][aria-expanded=false]").count() == 1
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    tab.locator(".detail >> text=Pushed down by").wait_for()
    assert identifier("first", 16) in tab.url
    assert tab.locator("[aria-selected=true]").count() == 1
    assert is_clean(tab)


def test_the_skip_link_comes_first(watched: Watched) -> None:
    """And leads past the menu."""
    tab = watched.open("/traces")
    tab.keyboard.press("Tab")

    assert tab.evaluate("document.activeElement.className") == "skip"


def test_everything_is_reached_without_scripts(browser: Any, address: str) -> None:
    """Filters, older pages, a branch, a span, a curve: links and forms do."""
    seen = Watched(browser, address, java_script_enabled=False)
    tab = seen.open("/traces")
    tab.get_by_role("link", name="Older").click()
    assert tab.get_by_role("row").count() > 5
    tab.get_by_label("Service").fill("shop")
    tab.get_by_role("button", name="Filter").click()
    assert "service=shop" in tab.url
    tab.get_by_role("link", name="root-").first.click()
    tab.get_by_role("treeitem").filter(has_text="call-").last.locator("a.label-of").last.click()
    assert tab.get_by_text("What the model was shown").count() == 1
    tab.goto(f"{address}/training")
    assert tab.locator("svg.chart polyline").count() > 5
    seen.close()


def test_a_prompt_is_compared_and_promoted_by_keys_without_scripts(browser: Any, address: str) -> None:
    """What changed is folded and unfolded; a button asks the command, and the page says that it is done."""
    seen = Watched(browser, address, java_script_enabled=False)
    tab = seen.open("/prompts")
    opened = tab.locator("details[open]")
    before = opened.count()
    tab.get_by_text("What changed").first.focus()
    tab.keyboard.press("Enter")
    assert opened.count() == before - 1
    tab.get_by_role("button", name="Promote 2 of").focus()
    tab.keyboard.press("Enter")
    tab.get_by_role("status").filter(has_text="Done: promote 2").wait_for()
    assert tab.get_by_text("Version 2", exact=True).count() == 2, "it is the live one, and one of those below"
    seen.close()


def test_a_replay_leads_to_where_the_candidate_lost_by_keys_without_scripts(browser: Any, address: str) -> None:
    """The first state of the table is the one that lost most."""
    seen = Watched(browser, address, java_script_enabled=False)
    tab = seen.open("/replay")
    tab.locator("summary").first.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("details[open]").count() == 0
    tab.keyboard.press("Enter")
    tab.get_by_role("region", name="States").get_by_role("link").first.focus()
    tab.keyboard.press("Enter")
    tab.get_by_text("What the model was shown").wait_for()
    assert identifier("first", 16) in tab.url
    seen.close()


def test_a_curve_is_zoomed(watched: Watched) -> None:
    """By the one script that is not ours, under the page's own policy."""
    tab = watched.open("/training")
    tab.get_by_role("button", name="Zoom reward", exact=True).click()

    tab.locator(".uplot canvas").wait_for()


def test_sql_is_asked_and_answered(watched: Watched) -> None:
    """With a chart of the first number."""
    tab = watched.open("/sql")
    tab.locator("textarea").fill("select service_name, count(*) as spans from spans group by all order by spans")
    tab.get_by_role("button", name="Run").click()

    assert tab.get_by_role("columnheader", name="spans").count() == 1
    assert tab.locator("rect.bar").count() == 3


def test_which_tool_fails_most_for_an_agent_and_what_it_cost(watched: Watched) -> None:
    """From the first page by links alone: the tool, how often, and the rewards and outcomes beside it."""
    tab = watched.open("/")
    tab.get_by_role("link", name="Which tool fails most").click()
    table = tab.get_by_role("region", name="Tools, those that fail most first")
    table.locator("tbody tr").first.locator("td a").nth(1).click()

    assert "/tools?agent=" in tab.url
    heads = table.get_by_role("columnheader").all_inner_texts()
    first = dict(zip(heads, table.locator("tbody tr").first.locator("td").all_inner_texts(), strict=True))
    assert (first["calls"], first["failed"], first["share failed"]) == ("1", "1", "100 %")
    assert float(first["reward lost"].replace("\u2212", "-")) < 0
    assert first["outcome after failure"] == "0.25"


def test_why_a_call_was_pushed_down(watched: Watched) -> None:
    """From the first page by links alone: a sentence over the call, with what came of it and what was expected."""
    tab = watched.open("/")
    tab.get_by_role("link", name="Which calls were pushed down").click()
    tab.get_by_role("region", name="Pushed down hardest").locator("tbody a").first.click()

    why = tab.locator(".detail .why").first.inner_text()
    assert "Pushed down by" in why
    assert "what came of it (0.25) was less than could be expected" in why


def test_why_last_nights_checkpoint_was_refused(watched: Watched) -> None:
    """It stands on the first page, and the night's own says what would change it."""
    tab = watched.open("/")
    assert tab.get_by_text("worse than what it is compared with").count() == 1
    tab.get_by_role("link", name="Why was last night's checkpoint refused?").click()

    night = tab.locator("details[open]")
    assert "Refused: worse than what it is compared with" in night.inner_text()
    assert night.locator(".why .soft").count() == 1
    assert night.locator("svg").count() >= 1


def test_times_are_in_the_readers_zone(browser: Any, address: str) -> None:
    """The very instant stands in the tooltip."""
    seen = Watched(browser, address, timezone_id="Asia/Tokyo", locale="en-GB")
    tab = seen.open(f"{TRACE}")

    assert "23:13:20" in tab.locator("time").first.inner_text()
    seen.close()
