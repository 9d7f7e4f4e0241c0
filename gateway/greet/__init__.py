"""Greetings: from a connection somebody has opened to a principal, one way for each sort of door."""
