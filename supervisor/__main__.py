"""`python -I -m supervisor`: become the supervisor. Signals are caught before anything slow is imported."""

from __future__ import annotations

import os
import sys

from supervisor.early import catch_early, ignore_late


def main() -> None:
    """Never returns."""
    early = catch_early()
    from supervisor.main import run
    from supervisor.options import parse_options

    options = parse_options(sys.argv[1:])
    if options.ready_fd is not None:
        os.set_inheritable(options.ready_fd, False)
    os.chdir("/")
    os.umask(0o077)
    code = run(options, early)
    ignore_late()
    sys.exit(code)


if __name__ == "__main__":
    main()
