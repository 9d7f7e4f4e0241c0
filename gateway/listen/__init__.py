"""The doors: accepting, finding out who is there, and handing over to a connection."""
