"""Conversations of OpenClaw 2026.9.6 with its own clients, restated as facts, and where we differ, with the reason."""
