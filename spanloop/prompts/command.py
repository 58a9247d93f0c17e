"""`spanloop prompts`: the commands, each imported when it runs."""

from cyclopts import App

app = App(name="prompts", help="Versions of agents' system messages.", result_action="return_value")
for position, (name, place, what) in enumerate(
    (
        ("list", "serve.prompts_cli:list_", "Say which versions there are, and which are in force."),
        ("diff", "serve.prompts_cli:diff", "Show what changed between two versions."),
        ("optimise", "spanloop.prompts.optimise:optimise", "Look for a better prompt in what was logged."),
        ("keep", "serve.prompts_cli:keep", "Keep a version, out of a file."),
        ("promote", "serve.prompts_cli:promote", "Make a version live."),
        ("canary", "serve.prompts_cli:canary", "Try a version on a share of the calls."),
        ("rollback", "serve.prompts_cli:rollback", "Return to the version before."),
    )
):
    app.command(place, name=name, help=what, sort_key=position)
