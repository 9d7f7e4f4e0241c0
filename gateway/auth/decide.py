"""Who may come in through a Unix door. Owns that decision: one function, facts in, verdict out. Pure.

Descent outranks everything (a tool is a tool, though its uid is root's, and though it hides in a container of its own);
then the PID namespace; then the uid. The last line refuses. There is no way from here to pairing."""

from __future__ import annotations

from gateway.auth.facts import PeerFacts, Policy
from gateway.auth.principal import Kind, NeedsTicket, Principal, Refused, Verdict
from gateway.protocol import scopes
from gateway.protocol.errors import CloseReason
from supervisor.messages import Identity

AGENTS, OPERATOR, FOREIGN = "agents", "operator", "foreign"

# What the kernel writes for a uid that has no number in our user namespace: nobody in particular, so nobody (attack: a
# gateway inside a user namespace would take every stranger for that one uid).
OVERFLOW_UIDS = (65534, 2**32 - 1)

FULL = scopes.OPERATOR_SCOPES
MEMBER = frozenset({scopes.READ, scopes.WRITE})


def decide(door: str, facts: PeerFacts, identity: Identity, policy: Policy) -> Verdict:
    """What becomes of a peer at `door`. `identity` is the supervisor's answer about its process."""
    if facts.dead or identity.kind == "dead":
        return Refused(CloseReason.DEAD_PEER, "the connecting process has ended")
    if facts.uid in OVERFLOW_UIDS:
        return _stranger(f"uid {facts.uid} has no number in this user namespace; connect from a mapped uid")
    match identity.kind:
        case "worker" | "tool":
            return _ours_by_descent(door, facts, identity)
        case "none":
            if facts.pid == 0 or facts.nspid is None or len(facts.nspid) != 1:
                return _foreign(door, facts, policy)
            return _by_uid(door, facts, policy)
        case "ours":
            return Refused(
                CloseReason.STRANGER,
                "this process belongs to the system itself and to no worker; "
                "call from an agent's program or as an operator",
                identity.detail,
            )
        case _:
            return _stranger("this process could not be identified", f"identity {identity.kind!r}")


def check_ticket(verdict: Principal | NeedsTicket, ticket: str | None) -> Principal | Refused | NeedsTicket:
    """The verdict once the peer has spoken. NeedsTicket comes back when the supervisor must now be asked about the
    ticket."""
    match verdict, ticket:
        case NeedsTicket(), None:
            return verdict.otherwise
        case NeedsTicket(), _:
            return verdict
        case Principal(), None:
            return verdict
        case _:
            return wrong_ticket("a ticket is only taken from the worker process it was given to")


def wrong_ticket(detail: str) -> Refused:
    """A ticket that does not open the door."""
    return Refused(
        CloseReason.WRONG_TICKET,
        "wrong ticket: it was used, has expired or is another process's; ask for a fresh one on the lifeline",
        detail,
    )


def _ours_by_descent(door: str, facts: PeerFacts, identity: Identity) -> Verdict:
    if door not in (AGENTS, OPERATOR):
        return Refused(
            CloseReason.STRANGER,
            f"agent {identity.agent} may not use the {door} door; PEERGATE_SOCKET names the one for it",
            f"{identity.kind} of spawn {identity.spawn}",
        )
    tool = _tool(door, facts, identity)
    if identity.kind == "tool" or door != AGENTS:
        return tool
    worker = Principal(
        Kind.WORKER, frozenset({scopes.WORKER, scopes.SESSION}), door, facts.uid, facts.gid, facts.pid, facts.start,
        identity.agent, identity.session, identity.spawn,
    )  # fmt: skip
    return NeedsTicket(worker, tool)


def _tool(door: str, facts: PeerFacts, identity: Identity) -> Principal | Refused:
    if not identity.subprocess_gateway:
        return Refused(
            CloseReason.STRANGER,
            f"programs started by agent {identity.agent} may not call the gateway; "
            "tools.subprocessGateway: true (in tools and in the agent's own tools) would allow it",
            f"tool of spawn {identity.spawn}",
        )
    return Principal(
        Kind.TOOL, frozenset({scopes.SESSION}), door, facts.uid, facts.gid, facts.pid, facts.start,
        identity.agent, identity.session, identity.spawn,
    )  # fmt: skip


def _foreign(door: str, facts: PeerFacts, policy: Policy) -> Principal | Refused:
    where = "it comes from another PID namespace (a container)"
    if door != FOREIGN:
        return _stranger(
            f"uid {facts.uid} is not known here: {where}; "
            "it may use foreign/operator.sock if gateway.unix.foreign names its uid"
        )
    granted = policy.foreign.get(facts.uid)
    if not granted or facts.uid in policy.agent_uids or facts.uid == 0:
        return _stranger(
            f"uid {facts.uid} is not in gateway.unix.foreign: {where}, where a uid counts only if written there"
        )
    return Principal(Kind.FOREIGN, granted, door, facts.uid, facts.gid, facts.pid, facts.start)


def _by_uid(door: str, facts: PeerFacts, policy: Policy) -> Principal | Refused:
    if door == AGENTS:
        return _stranger(f"uid {facts.uid}: this socket is for agents and what they start; operators use operator.sock")
    if door == OPERATOR and facts.uid not in policy.agent_uids:
        granted = _operator_scopes(facts, policy)
        if granted:
            return Principal(Kind.OPERATOR, granted, door, facts.uid, facts.gid, facts.pid, facts.start)
    if door == FOREIGN:
        return _stranger(f"uid {facts.uid}: this socket is for other containers; on this machine use operator.sock")
    return _stranger(
        f"uid {facts.uid} is no operator; "
        "gateway.unix.operators or membership of gateway.unix.operatorGroup would allow it"
    )


def _operator_scopes(facts: PeerFacts, policy: Policy) -> frozenset[str]:
    if facts.uid == 0 or facts.uid == policy.owner or facts.uid in policy.operators:
        return FULL
    if policy.operator_gid is not None and policy.operator_gid in facts.groups | {facts.gid}:
        return MEMBER
    return frozenset()


def _stranger(message: str, detail: str = "") -> Refused:
    return Refused(CloseReason.STRANGER, message, detail)
