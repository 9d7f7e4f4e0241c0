-- Who was paired over the network. `record` is gateway.protocol.devices as JSON; the other columns are what is searched.
CREATE TABLE devices (
    device_id TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE device_tokens (
    device_id TEXT NOT NULL,
    role TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (device_id, role)
) STRICT, WITHOUT ROWID;

-- Requests that wait for a person; `address` is what their number is bounded by (an IPv6 network of 64 bits counts once).
CREATE TABLE pairing_requests (
    request_id TEXT PRIMARY KEY,
    device_id TEXT NOT NULL,
    address TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pairing_requests_device ON pairing_requests (device_id);

-- Approvals given beforehand. Only the hash of what the device will show is kept.
CREATE TABLE setup_codes (
    setup_id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    bound_to TEXT,
    forget_at INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What was asked for, granted and refused, by whom. Lines are added and never changed; only very old ones go.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    event TEXT NOT NULL,
    rule TEXT NOT NULL,
    device TEXT NOT NULL,
    address TEXT NOT NULL,
    who TEXT NOT NULL,
    conn TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX audit_event ON audit (event, id);

CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a line of the audit is never replaced'); END;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'a line of the audit is never changed'); END;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit WHEN OLD.id > (SELECT max(id) FROM audit) - 100000
BEGIN SELECT RAISE(ABORT, 'the newest 100,000 lines of the audit are kept'); END;
