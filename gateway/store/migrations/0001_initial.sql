-- Times are milliseconds since the epoch (REAL: a child starts within a fraction of one). JSON columns are text.

CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL
) STRICT;
INSERT INTO meta (id, epoch) VALUES (1, 0);

CREATE TABLE sessions (
    key TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    label TEXT,
    task_name TEXT,
    spawned_by TEXT,
    spawn_depth INTEGER NOT NULL DEFAULT 0,
    cleanup TEXT NOT NULL DEFAULT 'keep',
    last_run TEXT,
    last_error TEXT,
    messages INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX sessions_updated ON sessions (updated_at);
CREATE INDEX sessions_spawned_by ON sessions (spawned_by) WHERE spawned_by IS NOT NULL;
CREATE INDEX sessions_label ON sessions (label) WHERE label IS NOT NULL;
CREATE INDEX sessions_id ON sessions (session_id);

CREATE TABLE transcript (
    session TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at REAL NOT NULL,
    role TEXT NOT NULL,
    text TEXT NOT NULL,
    run TEXT NOT NULL,
    provenance TEXT,
    stop_reason TEXT,
    PRIMARY KEY (session, seq)
) STRICT;

-- One run per accepted message; its text is in the mailbox under the same id.
CREATE TABLE runs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    session TEXT NOT NULL,
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    lane TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    parent_run TEXT,
    parent_session TEXT,
    sender TEXT NOT NULL,
    label TEXT,
    task_name TEXT,
    announces INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL,
    timeout_s INTEGER,
    deadline_at REAL,
    spawn TEXT,
    worker_pid INTEGER,
    worker_start INTEGER,
    steering INTEGER NOT NULL DEFAULT 0,
    text TEXT,
    error TEXT,
    stop_reason TEXT,
    digest TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX runs_session ON runs (session, seq);
CREATE INDEX runs_parent_session ON runs (parent_session, seq) WHERE parent_session IS NOT NULL;
CREATE INDEX runs_parent_run ON runs (parent_run) WHERE parent_run IS NOT NULL;
CREATE INDEX runs_open ON runs (session, seq) WHERE ended_at IS NULL;
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;

-- new: waits for its run. taken: in the hands of the run `taken_by`. done: that run, or its own, took it. consumed: fetched by `subagents wait`.
CREATE TABLE mailbox (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL UNIQUE,
    session TEXT NOT NULL,
    state TEXT NOT NULL,
    taken_by TEXT,
    text TEXT NOT NULL,
    provenance TEXT NOT NULL,
    created_at REAL NOT NULL
) STRICT;
CREATE INDEX mailbox_taken_by ON mailbox (taken_by) WHERE taken_by IS NOT NULL;

-- `seq` is the worker's own; a resend after a reconnect meets the primary key.
CREATE TABLE run_events (
    run TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at REAL NOT NULL,
    stream TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (run, attempt, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE session_state (
    session TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    updated_at REAL NOT NULL
) STRICT;

CREATE TABLE idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    params_hash TEXT NOT NULL,
    result TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT;
CREATE INDEX idempotency_at ON idempotency (at);

CREATE TABLE refusals (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    code TEXT NOT NULL,
    door TEXT NOT NULL,
    peer TEXT NOT NULL,
    reason TEXT NOT NULL,
    method TEXT
) STRICT;
CREATE INDEX refusals_code ON refusals (code, id);
