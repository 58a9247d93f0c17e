"""Pictures of every page, light and dark: `make screenshots`; the two of the README with `--readme`.

    python -m tests.browser.screenshots DATA OUT [--readme]

DATA is what a demo left behind.
"""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from spanloop.page import facts
from tests.pages import Visitor, running_page


def pages(data: Path, visitor: Visitor) -> dict[str, str]:
    """Return the pages by the names of their pictures; the trace is of the call that was pushed down hardest."""
    sql = "select e.trace_ids[1] as id from credit c join episodes e using (project, episode_id) order by taken limit 1"
    found = visitor.get(f"/download/csv?q={sql.replace(' ', '+')}").text.splitlines()
    trace = found[1].strip('"') if len(found) > 1 else ""
    known = facts.checkpoints(data)
    return {
        "overview": "/", "traces": "/traces", "episodes": "/episodes", "rewards": "/rewards", "tools": "/tools",
        "nights": "/runs", "checkpoints": "/checkpoints", "prompts": "/prompts", "replays": "/replay", "sql": "/sql",
        **({"trace": f"/traces/{trace}"} if trace else {}),
        **({"training": f"/training/{known[0].id}"} if known else {}),
    }  # fmt: skip


def main() -> None:
    """Make them."""
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    is_readme = "--readme" in sys.argv
    out.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with running_page(data) as visitor, sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        chosen = pages(data, visitor)
        wanted = {name: chosen[name] for name in ("trace", "checkpoints")} if is_readme else chosen
        for scheme in ("light",) if is_readme else ("light", "dark"):
            context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
            tab = context.new_page()
            for name, path in wanted.items():
                tab.goto(visitor.url + path)
                tab.wait_for_load_state("networkidle")
                file = out / (f"page-{name}.png" if is_readme else f"{name}-{scheme}.png")
                tab.screenshot(path=file)
                sys.stdout.write(f"{file}\n")
        browser.close()


if __name__ == "__main__":
    main()
