"""Alerts and dashboard ask for what receiver and gateway answer at /metrics, by names that are there."""

import json
import re
from collections import Counter
from collections.abc import Iterator

from receiver.metrics import descriptions
from serve.api.answers import Recording
from serve.gateway.metrics import Metrics
from tests.unit.deploy.files import DEPLOY, documents

OBSERVABILITY = DEPLOY / "observability"
WORDS = re.compile(r"\b[a-zA-Z_:][a-zA-Z0-9_:]*")
OF_THE_LANGUAGE = {
    "sum", "by", "rate", "increase", "count", "max", "histogram_quantile", "or", "and", "on", "unless",
}  # fmt: skip
OF_PROMETHEUS = {"up"}


def exposed() -> set[str]:
    """Return every name that a scrape finds."""
    metrics = Metrics()
    metrics.count("/v1/chat/completions", Recording(), None, 0.1)
    text = metrics.render(in_flight=0, policies={"live": "a"}, evidence=Counter(), is_ready=True)
    gateway = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    buckets = {f"{name}_{part}" for name in gateway if name.endswith("seconds") for part in ("bucket", "sum", "count")}
    return {*descriptions(), *gateway, *buckets, *OF_PROMETHEUS}


def named(expression: str) -> set[str]:
    """Return the metrics an expression asks for: every word that is no function, label or duration."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"|\b(?:by|on) \([^)]*\)", " ", expression)
    return set(WORDS.findall(bare)) - OF_THE_LANGUAGE


def expressions() -> Iterator[str]:
    """Yield what alerts and panels ask."""
    (alerts,) = documents(OBSERVABILITY / "alerts.yaml")
    yield from (rule["expr"] for group in alerts["groups"] for rule in group["rules"])
    dashboard = json.loads((OBSERVABILITY / "dashboard.json").read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ()))


def test_whatever_is_asked_for_is_exposed() -> None:
    """A renamed metric would leave an alert that never fires."""
    asked = set().union(*map(named, expressions()))

    assert len(asked) > 15
    assert asked - exposed() == set()
    assert named('rate(renamed_total{a="b"}[5m]) > 0') - exposed() == {"renamed_total"}, "a fault is seen"


def test_each_alert_says_how_bad_it_is_and_what_happened() -> None:
    """Somebody reads it at night."""
    (alerts,) = documents(OBSERVABILITY / "alerts.yaml")
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]

    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


def test_the_operators_rules_are_the_same() -> None:
    """Two files, since promtool reads the one and the operator the other."""
    (alerts,) = documents(OBSERVABILITY / "alerts.yaml")
    (rule,) = documents(DEPLOY / "kustomize" / "components" / "monitoring" / "rules.yaml")

    assert rule["spec"] == alerts


def test_panels_do_not_lie_on_each_other() -> None:
    """Each place of the dashboard is one panel's."""
    panels = json.loads((OBSERVABILITY / "dashboard.json").read_text())["panels"]
    taken = Counter(
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    )

    assert set(taken.values()) == {1}
    assert max(x for x, _ in taken) < 24
