"""`python -m tests.faults`: rounds of faults until there were enough; `--soak MINUTES`: steady work without any.

Exit code 0 when nothing was violated and, in a long run, no named point was left out. A round's seed is the run's, its
number, and what the rounds before it owe; it can be given alone to see that round again."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import time

from tests.faults.killer import Tally
from tests.faults.report import conclusion_of, line_of, replay_of, table_of
from tests.faults.steering import debts_of
from tests.faults.suite import round_of_faults

ROUND = 50
EX_TERMINATED = 143


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--seed", default="", help="a run's seed, or a round's, as printed, to see that one again")
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EX_TERMINATED))  # through every `finally`: nothing is left behind
    if options.soak is not None:
        from tests.faults.soak import soak

        return soak(options.soak, options.seed or "soak")
    return storm(options.seed or secrets.token_hex(4), options.faults)


def storm(seed: str, faults: int) -> int:
    """Rounds until `faults` were inflicted; stops at the first round with a violation."""
    print(f"seed {seed}, {faults} faults in rounds of {ROUND}", flush=True)
    whole, number, began = Tally(), 0, time.monotonic()
    while whole.total < faults and not whole.violations:
        number += 1
        name = seed if "/" in seed else f"{seed}/{number}{debts_of(whole.points)}"
        started = time.monotonic()
        tally = round_of_faults(name, min(ROUND, faults - whole.total))
        print(line_of(number, name, tally, time.monotonic() - started), flush=True)
        whole.add(tally)
        for violation in tally.violations:
            print(f"  VIOLATION {violation}", flush=True)
        if tally.violations:
            print(replay_of(name, tally.total))
        if tally.total == 0:
            break
    print("\n".join(table_of(whole)))
    good, words = conclusion_of(seed, whole, faults)
    print(f"\n{words}, {time.monotonic() - began:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
