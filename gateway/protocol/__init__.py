"""The wire contract: frames, rows, errors, scopes. Pure: no Trio, no socket, no clock, no file."""
