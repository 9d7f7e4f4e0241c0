"""The gateway: the one process that talks to clients and the only one that writes the database. Imports nothing."""
