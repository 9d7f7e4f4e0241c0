"""When a schedule comes true, and what it is called: `schedule`, `explain`, `zones`.

Owns the arithmetic of time. It knows the protocol's types and cronsim and nothing else of the gateway, so that the
command line, which shows schedules to people, loads it in no time."""
