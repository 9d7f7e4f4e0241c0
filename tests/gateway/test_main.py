"""The pieces of the gateway process that are no process: whom the configuration makes an operator, and its own
weight."""

from __future__ import annotations

import os

import msgspec

from gateway.config import Resolved
from gateway.main import policy_of
from gateway.protocol import scopes
from gateway.resources import give_memory_back, own_weight
from tests.support.overseer import resolved


def test_the_configuration_says_who_is_whom():
    document = resolved(
        {
            "gateway.unix.operators": [1001],
            "gateway.unix.operatorGroup": 500,
            "gateway.unix.foreign": {"1000": "operator", "1002": ["operator.read"]},
            "supervisor.uids": {"first": 70000, "count": 10, "gid": 70000},
        }
    )
    policy = policy_of(msgspec.json.decode(document, type=Resolved))
    assert policy.owner == os.geteuid()
    assert (policy.operators, policy.operator_gid) == (frozenset({1001}), 500)
    assert policy.foreign == {
        1000: frozenset({scopes.READ, scopes.WRITE}),
        1002: frozenset({scopes.READ}),
    }
    assert 70009 in policy.agent_uids
    assert 70010 not in policy.agent_uids


def test_without_a_word_in_it_only_root_and_the_owner_are():
    policy = policy_of(msgspec.json.decode(resolved({}), type=Resolved))
    assert (policy.operators, policy.operator_gid, policy.foreign, len(policy.agent_uids)) == (frozenset(), None, {}, 0)


def test_it_knows_its_own_weight():
    rss, pss, descriptors = own_weight()
    assert rss >= pss > 1_000_000
    assert descriptors > 2


def test_what_lies_free_between_blocks_in_use_goes_back_to_the_kernel():
    blocks = [bytes(16_384) for _ in range(2_000)]
    kept = blocks[::2]
    del blocks
    before, *_ = own_weight()
    assert give_memory_back()
    after, *_ = own_weight()
    assert len(kept) == 1_000
    assert before - after > 8_000_000
