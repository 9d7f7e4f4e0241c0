"""Who gets in where: every kind of peer at every door, by name."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.auth.decide import FULL, MEMBER, OVERFLOW_UIDS, check_ticket, decide, wrong_ticket
from gateway.auth.facts import PeerFacts, Policy
from gateway.auth.principal import Kind, NeedsTicket, Principal, Refused
from gateway.protocol import scopes
from gateway.protocol.errors import CloseReason
from supervisor.messages import Identity
from tests.support.altered import altered

OWNER, CONFIGURED, MEMBER_UID, SOMEBODY, AGENT_UID, MAPPED = 1000, 1001, 1002, 1003, 70_001, 1004
GROUP = 500
POLICY = Policy(
    owner=OWNER,
    operators=frozenset({CONFIGURED, AGENT_UID}),
    operator_gid=GROUP,
    foreign={MAPPED: frozenset({scopes.READ}), 0: FULL, AGENT_UID: FULL},
    agent_uids=range(70_000, 70_100),
)
PEER = PeerFacts(pid=12, uid=SOMEBODY, gid=SOMEBODY, nspid=(12,), start=99)
NOBODY_OF_OURS = Identity(1, "none")


def ours(kind: str, **more: object) -> Identity:
    made = Identity(1, kind, spawn="s1", agent="main", session="agent:main:main")
    return altered(made, **more)


PEERS: dict[str, tuple[PeerFacts, Identity]] = {
    "root": (replace(PEER, uid=0), NOBODY_OF_OURS),
    "owner": (replace(PEER, uid=OWNER), NOBODY_OF_OURS),
    "configured operator": (replace(PEER, uid=CONFIGURED), NOBODY_OF_OURS),
    "member by supplementary group": (replace(PEER, uid=MEMBER_UID, groups=frozenset({GROUP, 7})), NOBODY_OF_OURS),
    "member by primary group": (replace(PEER, uid=MEMBER_UID, gid=GROUP), NOBODY_OF_OURS),
    "somebody": (PEER, NOBODY_OF_OURS),
    "agent uid that descends from nobody": (replace(PEER, uid=AGENT_UID), NOBODY_OF_OURS),
    "overflow uid": (replace(PEER, uid=OVERFLOW_UIDS[0], gid=GROUP), NOBODY_OF_OURS),
    "uid -1": (replace(PEER, uid=OVERFLOW_UIDS[1]), NOBODY_OF_OURS),
    "dead": (replace(PEER, uid=0, dead=True), NOBODY_OF_OURS),
    "dead by the supervisor's word": (replace(PEER, uid=0), Identity(1, "dead")),
    "sidecar, mapped": (replace(PEER, pid=0, uid=MAPPED, nspid=None), NOBODY_OF_OURS),
    "sidecar, root": (replace(PEER, pid=0, uid=0, nspid=None), NOBODY_OF_OURS),
    "sidecar, owner's uid": (replace(PEER, pid=0, uid=OWNER, nspid=None), NOBODY_OF_OURS),
    "sidecar, agent uid": (replace(PEER, pid=0, uid=AGENT_UID, nspid=None), NOBODY_OF_OURS),
    "container on this host, root": (replace(PEER, uid=0, nspid=(9495, 1)), NOBODY_OF_OURS),
    "container on this host, mapped": (replace(PEER, uid=MAPPED, nspid=(9495, 1)), NOBODY_OF_OURS),
    "namespace cannot be read": (replace(PEER, uid=0, nspid=None), NOBODY_OF_OURS),
    "worker": (replace(PEER, uid=OWNER), ours("worker")),
    "worker whose tools are shut out": (replace(PEER, uid=OWNER), ours("worker", subprocess_gateway=False)),
    "tool": (PEER, ours("tool")),
    "tool with root's uid": (replace(PEER, uid=0), ours("tool")),
    "tool with the owner's uid": (replace(PEER, uid=OWNER), ours("tool")),
    "tool in a PID namespace of its own": (replace(PEER, uid=MAPPED, nspid=(50, 1)), ours("tool")),
    "tool, shut out": (PEER, ours("tool", subprocess_gateway=False)),
    "tool with the overflow uid": (replace(PEER, uid=OVERFLOW_UIDS[0]), ours("tool")),
    "ours and no worker's": (replace(PEER, uid=0), ours("ours")),
    "unknown word from the supervisor": (replace(PEER, uid=0), ours("something new")),
}

FULL_OPERATOR, GROUP_OPERATOR, TICKET, TOOL, NO = "operator: all", "operator: read, write", "ticket", "tool", "refused"
MAPPED_FOREIGN = "foreign: as mapped"

#                                    agents   operator         foreign
EXPECTED: dict[str, tuple[str, str, str]] = {
    "root":                              (NO, FULL_OPERATOR, NO),
    "owner":                             (NO, FULL_OPERATOR, NO),
    "configured operator":               (NO, FULL_OPERATOR, NO),
    "member by supplementary group":     (NO, GROUP_OPERATOR, NO),
    "member by primary group":           (NO, GROUP_OPERATOR, NO),
    "somebody":                          (NO, NO, NO),
    "agent uid that descends from nobody": (NO, NO, NO),
    "overflow uid":                      (NO, NO, NO),
    "uid -1":                            (NO, NO, NO),
    "dead":                              (NO, NO, NO),
    "dead by the supervisor's word":     (NO, NO, NO),
    "sidecar, mapped":                   (NO, NO, MAPPED_FOREIGN),
    "sidecar, root":                     (NO, NO, NO),
    "sidecar, owner's uid":              (NO, NO, NO),
    "sidecar, agent uid":                (NO, NO, NO),
    "container on this host, root":      (NO, NO, NO),
    "container on this host, mapped":    (NO, NO, MAPPED_FOREIGN),
    "namespace cannot be read":          (NO, NO, NO),
    "worker":                            (TICKET, TOOL, NO),
    "worker whose tools are shut out":   (TICKET, NO, NO),
    "tool":                              (TOOL, TOOL, NO),
    "tool with root's uid":              (TOOL, TOOL, NO),
    "tool with the owner's uid":         (TOOL, TOOL, NO),
    "tool in a PID namespace of its own": (TOOL, TOOL, NO),
    "tool, shut out":                    (NO, NO, NO),
    "tool with the overflow uid":        (NO, NO, NO),
    "ours and no worker's":              (NO, NO, NO),
    "unknown word from the supervisor":  (NO, NO, NO),
}  # fmt: skip
CELLS = [
    (who, door, expected)
    for who, row in EXPECTED.items()
    for door, expected in zip(("agents", "operator", "foreign"), row, strict=True)
]


def in_words(verdict: object) -> str:
    match verdict:
        case NeedsTicket(worker=Principal(kind=Kind.WORKER, agent="main", session="agent:main:main", spawn="s1")):
            return TICKET
        case Principal(kind=Kind.TOOL, agent="main", session="agent:main:main", spawn="s1", scopes=granted):
            return TOOL if granted == {scopes.SESSION} else f"tool with {granted}"
        case Principal(kind=Kind.OPERATOR, scopes=granted):
            return {FULL: FULL_OPERATOR, MEMBER: GROUP_OPERATOR}.get(granted, f"operator with {granted}")
        case Principal(kind=Kind.FOREIGN, scopes=granted):
            return MAPPED_FOREIGN if granted == POLICY.foreign[MAPPED] else f"foreign with {granted}"
        case Refused():
            return NO
        case _:
            return repr(verdict)


def test_the_table_names_every_peer():
    assert EXPECTED.keys() == PEERS.keys()


@pytest.mark.parametrize(("who", "door", "expected"), CELLS, ids=[f"{who} at {door}" for who, door, _ in CELLS])
def test_a_peer_at_a_door(who: str, door: str, expected: str):
    facts, identity = PEERS[who]
    assert in_words(decide(door, facts, identity, POLICY)) == expected


@pytest.mark.parametrize("who", PEERS)
def test_a_door_nobody_knows_lets_nobody_in(who: str):
    assert isinstance(decide("back", *PEERS[who], POLICY), Refused)


@pytest.mark.parametrize(("who", "door", "expected"), CELLS, ids=[f"{who} at {door}" for who, door, _ in CELLS])
def test_only_an_operator_ever_holds_an_operator_scope_and_no_operator_holds_ours(who: str, door: str, expected: str):
    verdict = decide(door, *PEERS[who], POLICY)
    principals = [verdict] if isinstance(verdict, Principal) else []
    if isinstance(verdict, NeedsTicket):
        principals += [one for one in (verdict.worker, verdict.otherwise) if isinstance(one, Principal)]
    for principal in principals:
        assert principal.bound == bool(principal.scopes & {scopes.WORKER, scopes.SESSION})
        assert principal.bound != bool(principal.scopes & scopes.OPERATOR_SCOPES)


@pytest.mark.parametrize(
    ("who", "door", "fix"),
    [
        ("somebody", "operator", "gateway.unix.operators"),
        ("somebody", "agents", "operator.sock"),
        ("owner", "foreign", "operator.sock"),
        ("container on this host, root", "operator", "gateway.unix.foreign"),
        ("sidecar, owner's uid", "foreign", "gateway.unix.foreign"),
        ("tool, shut out", "agents", "tools.subprocessGateway"),
        ("tool", "foreign", "PEERGATE_SOCKET"),
        ("ours and no worker's", "operator", "operator"),
    ],
)
def test_a_refusal_says_what_would_allow_it(who: str, door: str, fix: str):
    verdict = decide(door, *PEERS[who], POLICY)
    assert isinstance(verdict, Refused)
    assert fix in verdict.message


def test_a_worker_without_its_ticket_is_what_its_tools_are():
    verdict = decide("agents", *PEERS["worker"], POLICY)
    assert isinstance(verdict, NeedsTicket)
    assert in_words(check_ticket(verdict, None)) == TOOL
    assert check_ticket(verdict, "anything") is verdict


def test_a_worker_without_its_ticket_is_refused_where_its_tools_are():
    verdict = decide("agents", *PEERS["worker whose tools are shut out"], POLICY)
    assert isinstance(verdict, NeedsTicket)
    assert in_words(check_ticket(verdict, None)) == NO


@pytest.mark.parametrize(("who", "door"), [("tool", "agents"), ("root", "operator"), ("worker", "operator")])
def test_a_ticket_in_the_wrong_hands_closes_the_connection(who: str, door: str):
    verdict = decide(door, *PEERS[who], POLICY)
    assert isinstance(verdict, Principal)
    refused = check_ticket(verdict, "stolen")
    assert isinstance(refused, Refused)
    assert refused.reason is CloseReason.WRONG_TICKET
    assert wrong_ticket("burned").detail == "burned"
