"""`python -I -m supervisor`: become the supervisor. Signals are caught before anything slow is imported."""

from __future__ import annotations

import os
import sys

from supervisor.early import catch_early, ignore_late


def main() -> None:
    """Never returns."""
    early = catch_early()
    from supervisor.options import parse_options
    from supervisor.resolver import start_resolver

    options = parse_options(sys.argv[1:])
    if options.ready_fd is not None:
        os.set_inheritable(options.ready_fd, False)
    if options.crash_points is not None:
        from supervisor.crashpoints import attach

        attach(options.crash_points)
    os.chdir("/")
    os.umask(0o077)
    # It works while we import what we need ourselves. Who waits for the lock reads the configuration when it has it.
    resolver = None if options.wait else start_resolver(options.config, options.overrides)
    from supervisor.main import run

    code = run(options, early, resolver)
    ignore_late()
    sys.exit(code)


if __name__ == "__main__":
    main()
