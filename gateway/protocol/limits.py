"""Numbers both ends of a connection must agree on, each with its reason.

Sizes are bytes, times are milliseconds unless the name says otherwise."""

PROTOCOL_VERSION = 4
"""What we speak (OpenClaw 2026.9.6 says 4 as well)."""
OLDEST_PROTOCOL = 3
"""Clients released before the v4 bump still connect; the only difference is the `chat` delta (we send both fields)."""

MAX_HELLO_BYTES = 64 * 1024
"""A frame before hello: room for a connect request and no more (MAX_PREAUTH_PAYLOAD_BYTES in OpenClaw)."""
MAX_PAYLOAD_BYTES = 25 * 1024 * 1024
"""A frame after hello (`policy.maxPayload`)."""
MAX_WORKER_PAYLOAD_BYTES = 1024 * 1024
"""A frame of a worker or tool: results are text; a free tree of 25 MiB of empty maps would cost 1.9 GB to decode."""
MAX_ROW_BYTES = 1024 * 1024
"""Parameters of one call, unless its row carries attachments."""
MAX_BUFFERED_BYTES = 8 * 1024 * 1024
"""Outbound bytes one slow peer may leave unread before it is closed (`policy.maxBufferedBytes`)."""
MAX_FRAMES_PER_WAKEUP = 64
"""Frames of one peer handled before others get their turn."""
MAX_BAD_FRAMES = 10
"""Malformed frames of one greeted connection that are answered where the door forgives them; one more ends it."""
MAX_IN_FLIGHT = 256
"""Calls of one connection that may wait at once; one more is refused as UNAVAILABLE (retryable)."""
MAX_CONNECTIONS_PER_PRINCIPAL = 64
"""Connections one worker (with its tools) may hold; beyond it the newest is closed."""
MAX_OPERATOR_CONNECTIONS = 16384
"""Connections all operators together may hold."""

HELLO_DEADLINE_MS = 15_000
"""How long a peer may stay silent before `connect`."""
TICK_INTERVAL_MS = 30_000
"""How often a subscribed connection hears `tick`."""

MAX_RUN_SECONDS = 30 * 24 * 3600
"""The longest time a caller may give one run; 0 means none."""
MAX_SAFE_INTEGER = 2**53
"""Integers of a call are no larger: every client can hold them (JSON numbers are floats), and so can SQLite."""
MAX_MESSAGE_CHARS = 256 * 1024
"""A message to a session."""
MAX_LABEL_CHARS = 512
MAX_KEY_CHARS = 512
MAX_WORKER_BUFFERED_BYTES = 2 * 1024 * 1024
"""The same as MAX_BUFFERED_BYTES for a worker or tool, whose answers are small and whose connections are many."""
CONNECTS_PER_SECOND = 50
"""How often one worker with its tools may connect, lasting."""
CONNECT_BURST = 200
"""How often it may at once."""
FLOOD_CONNECTS = 2000
"""Connections of one worker and its tools that may be turned away; then its agent is put in quarantine."""
MAX_UNGREETED_PER_DOOR = 512
"""Connections of one door that have not been greeted yet; when there are as many, a Unix door stops accepting for a
while, and the outer door ends one for each that comes."""
REFUSAL_SECONDS = 1.0
"""How long a peer that will be refused may take to say hello and so learn why."""

MAX_DEPTH = 256
"""Lists and objects inside each other, in what a worker hands over as JSON."""
MAX_ACTION_RESULT_BYTES = 64 * 1024
"""Of an action's result as JSON; it is kept to be given again."""

MAX_REASON_CHARS = 500
"""Why an agent is held, stopped or restarted; as many as the supervisor keeps (supervisor.messages)."""
