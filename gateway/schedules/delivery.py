"""Where the result of a job may go, and where it goes when nobody says. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from gateway.protocol.cron import Delivery, FailureAlert, FailureDestination
from gateway.protocol.errors import invalid
from gateway.protocol.keys import main_key, parse_key
from gateway.schedules.facts import Facts


def delivery_of(
    delivery: Delivery | None, target: str, agent: str, session: str | None, facts: Facts
) -> Delivery | None:  # fmt: skip
    """Where a result goes. Nothing said: to the session the job is bound to, if there is one. Raises Refusal."""
    if delivery is None:
        if target == "main":
            return None
        return Delivery("announce", to=session) if session is not None else Delivery("none")
    if delivery.mode == "webhook" and not is_address(delivery.to):
        raise invalid("cron webhook delivery requires delivery.to to be a valid http(s) URL")
    if delivery.mode == "announce":
        if target == "main":
            raise invalid('cron channel delivery config is only supported for sessionTarget="isolated"')
        to = _heard_by(delivery.to, "delivery.to", agent, session, facts)
        delivery = replace(delivery, to=to)
    if delivery.completion_destination is not None:
        if delivery.mode != "announce":
            raise invalid('cron completionDestination is only supported with delivery.mode="announce"')
        if not is_address(delivery.completion_destination.to):
            raise invalid("cron completionDestination.to must be a valid http(s) URL")
    if delivery.failure_destination is not None:
        if target == "main" and delivery.mode != "webhook":
            raise invalid('cron delivery.failureDestination is only supported for sessionTarget="isolated"')
        place = _failing(delivery.failure_destination, agent, session, facts)
        delivery = replace(delivery, failure_destination=place)
    return delivery


def alert_of(
    alert: FailureAlert | bool | None, agent: str, session: str | None, facts: Facts
) -> FailureAlert | bool | None:  # fmt: skip
    """When and where a job's failing is told. A place that is named without a mode says by itself which one it is.
    Raises Refusal."""
    if alert is True:
        raise invalid("cron failureAlert is false or a table; true says nothing")
    if not isinstance(alert, FailureAlert) or alert.to is None:
        return alert
    mode = alert.mode or ("webhook" if is_address(alert.to) else "announce")
    if mode == "webhook" and not is_address(alert.to):
        raise invalid("cron failureAlert.to must be a valid http(s) URL")
    to = alert.to if mode == "webhook" else _heard_by(alert.to, "failureAlert.to", agent, session, facts)
    return replace(alert, mode=mode, to=to)


def _failing(place: FailureDestination, agent: str, session: str | None, facts: Facts) -> FailureDestination:
    if place.mode == "announce":
        return replace(place, to=_heard_by(place.to, "failureDestination.to", agent, session, facts))
    if not is_address(place.to):
        raise invalid("cron failureDestination.to must be a valid http(s) URL")
    return place


def _heard_by(to: str | None, name: str, agent: str, session: str | None, facts: Facts) -> str:
    """The session an announcement goes to: the one that is named, the one the job is bound to, the agent's main
    session."""
    word = (to or session or "main").strip().lower()
    key = parse_key(main_key(agent) if word in ("main", "last") else word)
    if key is None:
        raise invalid(f'{name} "{word[:128]}" is no session key; there are no channels here: name a session, or "main"')
    if facts.owner is not None and key.agent != facts.owner.agent_id:
        raise invalid(f"{name} {key} is not yours: name a session of the agent {facts.owner.agent_id}")
    if key.agent not in facts.agents:
        raise invalid(f'{name} "{key}" names an agent that is not configured', code="UNKNOWN_AGENT_ID")
    return str(key)


def is_address(text: str | None) -> bool:
    """Whether `text` may be the address of a webhook; where it leads is looked at when it is called."""
    head, separator, rest = (text or "").partition("://")
    plain = all("!" <= character <= "~" for character in text or "")
    return head.lower() in ("http", "https") and bool(separator) and plain and rest.split("/")[0].strip() != ""
