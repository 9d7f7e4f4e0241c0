-- Jobs of cron. `record` is the job with its state and what is to come, as JSON (gateway.services.cron.book); `version`
-- counts every change, so that a decision made on an older state is noticed.
CREATE TABLE cron_jobs (
    id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    declaration_key TEXT UNIQUE,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What a schedule has been obeyed for: written in the transaction that accepts the run (or leaves the slot out).
CREATE TABLE cron_slots (
    job TEXT NOT NULL,
    slot INTEGER NOT NULL,
    PRIMARY KEY (job, slot)
) STRICT, WITHOUT ROWID;

-- Runs of jobs. `ended_at` NULL: it goes on. `entry` is the line of the run log as JSON.
CREATE TABLE cron_runs (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL,
    slot INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    scheduled INTEGER NOT NULL,
    session TEXT,
    status TEXT,
    delivery TEXT,
    ended_at INTEGER,
    entry TEXT NOT NULL
) STRICT;
CREATE INDEX cron_runs_job ON cron_runs (job, id);
CREATE INDEX cron_runs_open ON cron_runs (id) WHERE ended_at IS NULL;
CREATE INDEX cron_runs_ended ON cron_runs (ended_at) WHERE ended_at IS NOT NULL;

-- Words that wait for a session's next run, and by which run they were taken.
CREATE TABLE cron_words (
    id INTEGER PRIMARY KEY,
    session TEXT NOT NULL,
    text TEXT NOT NULL,
    at INTEGER NOT NULL,
    run TEXT
) STRICT;
CREATE INDEX cron_words_waiting ON cron_words (session, id) WHERE run IS NULL;
CREATE INDEX cron_words_taken ON cron_words (run) WHERE run IS NOT NULL;

-- Calls to addresses outside that are still to be made. `settles` is the run whose delivery it is, if it is one's.
CREATE TABLE cron_calls (
    id TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    settles TEXT,
    url TEXT NOT NULL,
    body TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX cron_calls_due ON cron_calls (due_at);
