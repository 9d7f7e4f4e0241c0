"""The fault suite: a workload, somebody who kills, and a checker that knows what must come true all the same."""
