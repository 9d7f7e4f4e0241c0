"""Agents that come with peergate and work offline."""
