"""`spanloop page`: the page, until SIGTERM."""

from typing import Annotated

from cyclopts import Parameter

from spanloop.page.settings import PageConfig


def page(*, config: Annotated[PageConfig, Parameter(name="*")] = PageConfig()) -> None:
    """Show traces, rewards, nights, trainings and checkpoints in a browser.

    A process of its own: it reads through the running receiver, or the files where none runs, and slows nobody down.
    Without keys it answers this machine alone; with keys one logs in with one, and sees what the key may see.

    Example: spanloop page --data spanloop-data
    """
    from spanloop.page.server import run

    run(config)
