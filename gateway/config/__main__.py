"""`python -I -m gateway.config --resolve`: the configuration as one JSON document, or its problems and exit 78.

The document holds the secrets; whoever starts this gives it a pipe."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec

from gateway.config.loader import load
from gateway.config.problem import EXIT_CONFIG, ConfigError, Problem
from gateway.config.resolve import read_host, resolve


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status. Nothing is on stdout unless all of the document is."""
    parser = argparse.ArgumentParser(prog="python -m gateway.config", description=__doc__, allow_abbrev=False)
    parser.add_argument("--resolve", action="store_true", required=True, help="print the resolved configuration")
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    options = parser.parse_args(arguments)
    try:
        loaded = load(options.config, environ=os.environ, overrides=_pairs(options.settings))
        document = msgspec.json.encode(resolve(loaded, read_host(loaded.settings)))
    except ConfigError as error:
        print("\n".join(f"peergate: {problem}" for problem in error.problems), file=sys.stderr)
        return EXIT_CONFIG
    sys.stdout.buffer.write(document + b"\n")
    sys.stdout.buffer.flush()
    return 0


def _pairs(texts: list[str]) -> dict[str, object]:
    pairs: dict[str, object] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ConfigError([Problem("--set", f'"{key}"', "KEY=VALUE, such as gateway.port=18790")])
        pairs[key] = value
    return pairs


if __name__ == "__main__":
    sys.exit(main())
