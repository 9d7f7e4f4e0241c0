-- What a turn does outside: written before it is done (intent) and after (done, failed). unknown: begun, and its worker died or the run ended.
CREATE TABLE tool_calls (
    run TEXT NOT NULL,
    call TEXT NOT NULL,
    name TEXT NOT NULL,
    effect TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    result TEXT,
    started_at REAL NOT NULL,
    ended_at REAL,
    PRIMARY KEY (run, call)
) STRICT, WITHOUT ROWID;
CREATE INDEX tool_calls_started ON tool_calls (started_at);

-- Agents an operator has stopped; the next message to one takes its row away.
CREATE TABLE stopped_agents (
    agent TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    at REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- NULL: as many as any run. An operator who lets a parked message be tried again raises it.
ALTER TABLE runs ADD COLUMN attempts_allowed INTEGER;

ALTER TABLE sessions ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET bytes = (SELECT coalesce(sum(length(CAST(text AS BLOB))), 0) FROM transcript WHERE session = key);

-- dead: parked, an operator decides. dropped: they decided against it.
CREATE INDEX mailbox_open ON mailbox (id) WHERE state IN ('new', 'taken', 'dead');
CREATE INDEX mailbox_closed ON mailbox (created_at) WHERE state IN ('done', 'consumed', 'dropped');
