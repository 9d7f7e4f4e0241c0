"""The tests of peergate: they mirror the source, and ``tests/process`` holds those that start real processes."""
