"""When a schedule comes true, what it is called, and what a job may be: `schedule`, `explain`, `zones`, `job`.

Owns the arithmetic of time and the rules of jobs. It knows the protocol's types and cronsim and nothing else of the
gateway, so that the command line, which shows schedules to people, loads it in no time."""
