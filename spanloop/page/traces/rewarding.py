"""Giving a reward on a trace: what the form says goes to the receiver, which stores it as the evaluation it is."""

from aiohttp import web

from foundation.errors import SettingsError
from foundation.web.keys import Scope
from spanloop.page.render import address
from spanloop.page.visit import Visit, clean, see_other


async def give(visit: Visit) -> web.StreamResponse:
    """Give a reward to a trace or a span of it, and lead back there."""
    visit.visitor.require(Scope.REWARD)
    form = await visit.request.post()
    trace_id = visit.request.match_info["trace_id"].lower()
    span_id = clean(str(form.get("span_id", "")))
    try:
        value = float(str(form.get("value", "")))
    except ValueError:
        raise SettingsError("the value is no number") from None
    name = clean(str(form.get("name", ""))).strip()[:200]
    body = {"trace_id": trace_id, "name": name, "value": value}
    body |= {"span_id": span_id} if span_id else {}
    why = clean(str(form.get("explanation", "")))[:500].strip()
    await visit.questions.post(visit.visitor, "/v1/rewards", body | ({"explanation": why} if why else {}))
    said = f"Stored: {name[:40]} {value:g}. It counts once the ETL has run again."
    return see_other(
        address(f"/traces/{trace_id}", span=span_id, project=clean(str(form.get("project", ""))), said=said)
    )
