"""The agent worker: one process per session at work. Imports nothing."""
