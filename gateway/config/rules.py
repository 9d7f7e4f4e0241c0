"""Rules between values: what the types of the settings cannot say.

Pure: `rule_problems` finds what stops a start, `notices` what a person should know though it does not."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from gateway.config.agent_settings import AcpRuntime, ModelRuntime
from gateway.config.gateway_settings import Gateway
from gateway.config.problem import Problem, did_you_mean, shown
from gateway.config.settings import Settings, UidRange
from gateway.protocol.keys import parse_key

OVERFLOW_UID = 65534
"""What the kernel shows for a uid it cannot translate (user_namespaces(7)); it names nobody in particular."""

MAX_ADDRESSES = 8
"""Of bind custom; each is a descriptor in the message that starts a gateway."""

_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(\.(?!-)[a-z0-9-]{1,63})*\.?", re.IGNORECASE)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?/?", re.IGNORECASE)
_FINGERPRINT = re.compile(r"^(sha256:)?([0-9a-f]{2}:?){31}[0-9a-f]{2}$", re.IGNORECASE)


def rule_problems(written: Settings, settings: Settings) -> Iterator[Problem]:
    """What contradicts itself. `written` is the configuration as it came, `settings` the same completed."""
    yield from _address_problems(settings.gateway)
    yield from _auth_problems(written.gateway, settings.gateway)
    yield from _proxy_problems(settings.gateway)
    yield from _tls_problems(settings.gateway)
    yield from _operator_problems(settings)
    yield from _foreign_problems(settings)
    yield from _range_problems(settings)
    yield from _cron_problems(settings)


def _address_problems(gateway: Gateway) -> Iterator[Problem]:
    if gateway.mode == "remote":
        hint = "this file describes a client of a gateway elsewhere; set gateway.mode to local to start one here"
        yield Problem("gateway.mode", '"remote"', "local", hint)
    yield from _custom_problems(gateway)
    for index, name in enumerate(gateway.host_names):
        path = f"gateway.hostNames[{index}]"
        if not _is_name(name):
            yield Problem(path, shown(name, path), "a host name or an address, without scheme, port and path")
    for index, origin in enumerate(gateway.control_ui.allowed_origins):
        path = f"gateway.controlUi.allowedOrigins[{index}]"
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            yield Problem(path, shown(origin, path), "an origin such as https://box.lan:18789: scheme, host, port")


def _custom_problems(gateway: Gateway) -> Iterator[Problem]:
    path, allowed = "gateway.customBindHost", "the IPv4 or IPv6 address to listen on, for bind custom"
    if gateway.bind != "custom":
        return
    if not gateway.custom_hosts:
        yield Problem(path, "nothing", allowed)
    if len(gateway.custom_hosts) > MAX_ADDRESSES:
        yield Problem(path, f"{len(gateway.custom_hosts)} addresses", f"at most {MAX_ADDRESSES}")
    for host in gateway.custom_hosts:
        if not _can_be_bound(host):
            yield Problem(path, shown(host, path), allowed)
        elif any(other != host and _covers(other, host) for other in gateway.custom_hosts):
            yield Problem(path, shown(host, path), f"either it or {'::' if ':' in host else '0.0.0.0'}, which has it")


def _can_be_bound(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not address.is_multicast and getattr(address, "ipv4_mapped", None) is None


def _covers(every: str, host: str) -> bool:
    """Whether `every` is the address that stands for all of the family of `host`."""
    return every == ("::" if ":" in host else "0.0.0.0")


def _is_name(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return _HOST_NAME.fullmatch(name) is not None and len(name) <= 253


def _auth_problems(written: Gateway, gateway: Gateway) -> Iterator[Problem]:
    auth, path = gateway.auth, "gateway.auth.mode"
    if written.auth.mode is None and auth.token and auth.password:
        yield Problem(path, "nothing, with a token and a password", "token or password", "say which one is meant")
    if auth.mode == "password" and not auth.password:
        hint = "set it here or in PEERGATE_GATEWAY_PASSWORD"
        yield Problem("gateway.auth.password", "nothing", "a password, for mode password", hint)
    if auth.mode == "none" and not gateway.stays_local and not auth.allow_insecure_none:
        hint = "anybody on the network would be let in; use token, or write gateway.auth.allowInsecureNone: true"
        yield Problem(path, f'"none" with bind {gateway.bind}', "mode none on bind loopback only", hint)


def _proxy_problems(gateway: Gateway) -> Iterator[Problem]:
    for index, proxy in enumerate(gateway.trusted_proxies):
        path = f"gateway.trustedProxies[{index}]"
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            yield Problem(path, shown(proxy, path), "an address or a network such as 10.0.0.0/8")
    if gateway.auth.mode != "trusted-proxy":
        return
    trusted = gateway.auth.trusted_proxy
    if trusted is None:
        yield Problem("gateway.auth.trustedProxy", "nothing", "a table with userHeader, for mode trusted-proxy")
    elif trusted.allow_loopback and not trusted.proxy_uids:
        hint = "every local process can send the header; name the uids the proxy runs as"
        yield Problem("gateway.auth.trustedProxy.proxyUids", "nothing", "uids, with allowLoopback", hint)
    if not gateway.trusted_proxies:
        yield Problem("gateway.trustedProxies", "nothing", "the proxy's address, for mode trusted-proxy")


def _tls_problems(gateway: Gateway) -> Iterator[Problem]:
    tls = gateway.tls
    if bool(tls.cert_path) != bool(tls.key_path):
        missing = "keyPath" if tls.cert_path else "certPath"
        yield Problem(f"gateway.tls.{missing}", "nothing", "certPath and keyPath together, or neither")
    if tls.enabled is False and not gateway.stays_local and not tls.allow_plaintext:
        hint = "secrets would cross the network in the clear; leave it on, or write gateway.tls.allowPlaintext: true"
        yield Problem("gateway.tls.enabled", f"false with bind {gateway.bind}", "false on bind loopback only", hint)


def _operator_problems(settings: Settings) -> Iterator[Problem]:
    unix = settings.gateway.unix
    named = [(f"gateway.unix.operators[{index}]", uid) for index, uid in enumerate(unix.operators)]
    for path, number in [*named, ("gateway.unix.operatorGroup", unix.operator_group)]:
        if number == OVERFLOW_UID:
            yield Problem(path, str(number), "an id that is somebody", "the overflow id is anybody")


def _foreign_problems(settings: Settings) -> Iterator[Problem]:
    uids = settings.supervisor.uids
    for key in settings.gateway.unix.foreign:
        uid, path = int(key), f"gateway.unix.foreign.{key}"
        if uid in (0, OVERFLOW_UID) or uid >= 2**32 - 1:
            yield Problem(path, f"uid {uid}", "an ordinary uid: not root, not the overflow uid")
        elif uids and uid in uids.members:
            hint = "an agent would count as a foreign operator"
            yield Problem(path, f"uid {uid}", "a uid outside supervisor.uids", hint)


def _cron_problems(settings: Settings) -> Iterator[Problem]:
    cron = settings.cron
    if cron.session_retention is True:
        yield Problem("cron.sessionRetention", "true", "a time such as 24h, or false")
    alert, path = cron.failure_alert, "cron.failureAlert.to"
    outside = alert.mode == "webhook"
    if alert.to is None:
        if alert.enabled and outside:
            yield Problem(path, "nothing", "an address, for mode webhook")
    elif (parse_key(alert.to) is None) if not outside else not alert.to.startswith(("http://", "https://")):
        yield Problem(path, shown(alert.to, path), "an http(s) address" if outside else "a session key")
    if cron.jobs:
        # Whoever has no jobs here, which is nearly everybody, does not wait for the calendar to be loaded.
        from gateway.config.job_rules import job_problems

        yield from job_problems(settings)


def _range_problems(settings: Settings) -> Iterator[Problem]:
    uids = settings.supervisor.uids
    if uids is None:
        return
    if uids.count < len(settings.agents.entries):
        wanted = f"{len(settings.agents.entries)} or more, one for each agent"
        yield Problem("supervisor.uids.count", str(uids.count), wanted)
    operators = {uid: f"operator {uid}" for uid in settings.gateway.unix.operators if isinstance(uid, int)}
    yield from taken_problems(uids, {OVERFLOW_UID: "the overflow uid", **operators})
    if uids.gid == settings.gateway.unix.operator_group:
        yield Problem("supervisor.uids.gid", str(uids.gid), "a group other than gateway.unix.operatorGroup")


def taken_problems(uids: UidRange, taken: dict[int, str]) -> Iterator[Problem]:
    """The uids of a range that belong to somebody, as one problem naming the first of them; `taken` says to whom."""
    met = sorted(uid for uid in taken if uid in uids.members)
    if met:
        found = f"{uids.first} and the {uids.count - 1} after it, among them {met[0]} ({taken[met[0]]})"
        yield Problem("supervisor.uids.first", found, "uids that belong to nobody", "choose another range")
    elif uids.members.stop > 2**32 - 1:
        yield Problem("supervisor.uids.first", f"{uids.first} and {uids.count} uids", "uids below 4294967295")


def notices(settings: Settings) -> Iterator[str]:
    """What is accepted but does nothing yet, or probably not what was meant."""
    yield from _later(settings)
    yield from _outside(settings.gateway)
    fingerprint = settings.gateway.tls.fingerprint
    if fingerprint and not _FINGERPRINT.match(fingerprint):
        yield "gateway.tls.fingerprint: not a SHA-256 fingerprint (64 hexadecimal digits); no certificate will match it"
    yield from _unknown_agents("tools.agentToAgent.allow", settings.tools.agent_to_agent.allow, settings)
    yield from _unknown_agents(
        "agents.defaults.subagents.allowAgents", settings.agents.defaults.subagents.allow_agents, settings
    )
    for agent_id, agent in settings.agents.entries.items():
        path = f"agents.entries.{agent_id}.subagents.allowAgents"
        yield from _unknown_agents(path, agent.subagents.allow_agents, settings)


def _outside(gateway: Gateway) -> Iterator[str]:
    """What an operator may choose by name and should be reminded of."""
    auth, tls = gateway.auth, gateway.tls
    if gateway.bind == "off":
        return
    if not gateway.stays_local and not tls.enabled:
        yield (
            f"gateway.tls: off with bind {gateway.bind}, as allowPlaintext says: secrets cross the network in the "
            "clear unless a proxy in front adds TLS"
        )
    if auth.mode == "none":
        whom = "every operator's program on this machine" if gateway.stays_local else "everybody who reaches the port"
        yield f"gateway.auth.mode: none with bind {gateway.bind}: {whom} comes in without a secret and without pairing"
    if auth.mode == "token" and auth.token == "":
        yield "gateway.auth.token: empty, so nobody comes in by it; leave the key out to have one generated"
    if "*" in gateway.control_ui.allowed_origins:
        yield 'gateway.controlUi.allowedOrigins: "*" allows nothing here; name every origin exactly'


def _later(settings: Settings) -> Iterator[str]:
    if settings.agents.defaults.model is not None:
        yield "agents.defaults.model: accepted, but model agents come later; it does nothing yet"
    for agent_id, agent in settings.agents.entries.items():
        path = f"agents.entries.{agent_id}"
        if agent.model is not None:
            yield f"{path}.model: accepted, but model agents come later; it does nothing yet"
        if isinstance(agent.runtime, (ModelRuntime, AcpRuntime)):
            kind = "model" if isinstance(agent.runtime, ModelRuntime) else "acp"
            yield f"{path}.runtime.type: accepted, but {kind} agents come later; this agent cannot run yet"


def _unknown_agents(path: str, names: tuple[str, ...] | None, settings: Settings) -> Iterator[str]:
    for name in names or ():
        if "*" not in name and name.strip() and name not in settings.agents.entries:
            hint = did_you_mean(name, settings.agents.entries)
            yield f'{path}: no agent "{name}" is configured{"; " + hint if hint else ""}'
