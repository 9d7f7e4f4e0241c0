"""The supervisor: parent of every process of a peergate system, and the command line. Imports nothing."""
