"""Both ends of a connection: bytes in, frames out. Knows nothing of rows, principals or rules."""
