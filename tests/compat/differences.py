"""Where a gateway of ours answers otherwise than OpenClaw 2026.9.6, and why.

A difference that is not here fails a test, and so does one that is here and no longer exists."""

from __future__ import annotations

from tests.compat.handshake import ADMIN, ALL, READ, WRITE, greeted, refused
from tests.compat.outcome import ABSENT, Fields, Rule
from tests.compat.pairing import pairing_required

_NOT_GREETED = dict.fromkeys(greeted(token=True), ABSENT)
_COMMAND = "peergate devices approve <id>"

NO_SILENT_APPROVAL = (
    "a person approves every device; OpenClaw approves by itself what comes from its own machine, and its own clients "
    "come from there in containers, behind proxies and from tools as well"
)
NO_EXEMPTION = (
    "the shared token opens the door to asking alone: who shows no device is not let in for the client it says it is, "
    "nor greeted without any scope"
)
COMMAND_IN_HINT = "the hint is told with the command that does it"
NO_RECOVERY = (
    "there is no recovery of lost device records by a hash of the client's origin; pairing again is one command"
)
LIBERAL = "each release of OpenClaw adds client ids, modes and parameters: what decides nothing is passed over"
NO_PROTOCOL_3 = "protocol 3 is spoken too: the chat delta carries what both versions need"
HOST_CHECK = (
    "a Host that is not ours is a page that made its name point here (DNS rebinding): refused before the WebSocket"
)
NO_BUILD = "a page of another build is not turned away: there is no bundled Control UI here that it would have to fit"
OWN_WORDS = (
    "the text says where our own settings and commands are; clients go by the code, and by the words it begins with"
)
CLOSE_TEXT = "what is no JSON and what is no request are closed alike, with 1008 and a reason; there it is 1000, empty"
OTHER_WORDS = "another validator finds another fault first; the code, and the words the text begins with, are the same"
TOO_LARGE = "the Close frame says why; OpenClaw's is empty"


def instead(ours: Fields) -> Fields:
    """This answer instead of a hello-ok."""
    return _NOT_GREETED | ours


def _hinted(reason: str, asked: tuple[str, ...], approved: tuple[str, ...] = (), role: str = "operator") -> Fields:
    fields = pairing_required(reason, asked, approved)
    return fields | {
        "error.details.remediationHint": str(fields["error.details.remediationHint"]).rstrip(".") + f": {_COMMAND}",
        "error.details.requestedRole": role,
    }


_NO_DEVICE = refused("device identity required", "DEVICE_IDENTITY_REQUIRED", code="NOT_PAIRED")
_FIRST = _hinted("not-paired", (READ,))
_ORIGIN = "origin not allowed (add the page's origin, with its port, to gateway.controlUi.allowedOrigins)"
_WRONG = "unauthorized: gateway token mismatch (use this gateway's gateway.auth.token)"
_NONE = "unauthorized: gateway token missing (give --token, or a setup code from `peergate qr`)"

HANDSHAKE = (
    Rule(NO_EXEMPTION,
         ("backend without device", "backend that does not wait for the challenge", "cli without device",
          "test client without device", "protocol 3 to 4", "token in the password's place"),
         instead(_NO_DEVICE)),
    Rule(NO_SILENT_APPROVAL, ("backend with device", "tui with device"), instead(_hinted("not-paired", ALL))),
    Rule(NO_SILENT_APPROVAL, ("cli with device",), instead(_FIRST)),
    Rule(NO_SILENT_APPROVAL, ("node with device",), instead(_hinted("not-paired", (), role="node"))),
    Rule(NO_SILENT_APPROVAL, ("cli, more scopes than approved",),
         instead(_hinted("scope-upgrade", ALL, (READ,)))),
    Rule("a backend's device is given its own token like any other", ("backend with device, approved",),
         {"auth.deviceToken": "<token>", "auth.issuedAtMs": "<ms>"}),
    Rule(NO_RECOVERY, ("*, approved", "cli with device, signature v2", "public key in standard base64"),
         {"auth.recoveryScope": ABSENT, "auth.recoveryMigrationAllowed": ABSENT}),
    Rule(LIBERAL, ("another client id", "another client mode", "an unknown parameter"), _NO_DEVICE),
    Rule(NO_PROTOCOL_3, ("protocol 3 alone",),
         _NO_DEVICE | {f"error.details.{name}": ABSENT for name in
                       ("clientMinProtocol", "clientMaxProtocol", "expectedProtocol", "minimumProbeProtocol")}),
    Rule(HOST_CHECK, ("Host of somebody else,*",), instead({"ok": ABSENT, "http.status": 421})),
    Rule(NO_BUILD, ("web page of another build, with device",),
         _FIRST | dict.fromkeys(("error.retryable", "error.details.gatewayBuildId", "error.details.reloadRequired"),
                                ABSENT)),
    Rule(NO_BUILD, ("web page of another build, with device, approved",),
         greeted(READ, token=True) | dict.fromkeys(
             ("error.code", "error.message", "error.retryable", "error.details.code", "error.details.gatewayBuildId",
              "error.details.reloadRequired", "close.code", "close.reason", "auth.recoveryScope",
              "auth.recoveryMigrationAllowed"), ABSENT)),
    Rule(OWN_WORDS, ("control ui from a page elsewhere",), {"error.message": _ORIGIN, "close.reason": _ORIGIN}),
    Rule(OWN_WORDS, ("wrong token*",), dict.fromkeys(("error.message", "close.reason"), _WRONG)),
    Rule(OWN_WORDS, ("device without secret",), dict.fromkeys(("error.message", "close.reason"), _NONE)),
    Rule(CLOSE_TEXT, ("not JSON",), {"close.code": 1008, "close.reason": "invalid request frame"}),
    Rule(TOO_LARGE, ("more than 64 KiB before hello",), {"close.reason": "preauth payload too large"}),
)  # fmt: skip

LATER = (
    Rule("nothing of a frame that is none is believed, its id neither", ('*"bogus":1}',), {"id": "invalid"}),
    Rule(OTHER_WORDS, ('*"event"*',), {"error.message": "invalid request frame: Invalid value 'event' - at `$.type`"}),
    Rule(OTHER_WORDS, ('*"id":""*',),
         {"id": "invalid", "error.message": "invalid request frame: id and method must not be empty"}),
)  # fmt: skip

WHO = "says who was refused as well"
FORBIDDEN = (Rule(WHO, ("device.pair.*",), {"error.details.principal": "<who>"}),)

_BOTH = (READ, WRITE)
_TOKEN_SCOPES = dict.fromkeys(("auth.recoveryScope", "auth.recoveryMigrationAllowed"), ABSENT)
PAIRING = (
    Rule(NO_EXEMPTION, ("the token alone*",), instead(_NO_DEVICE)),
    Rule(COMMAND_IN_HINT, ("an unknown device", "the same again"), _hinted("not-paired", _BOTH)),
    Rule(COMMAND_IN_HINT, ("more than approved, by the shared token",), _hinted("scope-upgrade", (READ, ADMIN), _BOTH)),
    Rule(COMMAND_IN_HINT, ("another platform",), _hinted("metadata-upgrade", (READ,), _BOTH)),
    Rule(NO_RECOVERY, ("approved", "by its own token", "its own token in*", "less than approved", "another client id"),
         _TOKEN_SCOPES),
)  # fmt: skip
POLICY = (
    Rule("a client that leaves more than this unread is closed; 50 MiB for each of many would be this machine's memory",
         ("policy",), {"maxBufferedBytes": 8_388_608}),
)  # fmt: skip

NOT_SERVED = "there is no such thing here: "
_PLUGINS = f"{NOT_SERVED}plugins"
_RELOAD = f"{NOT_SERVED}a switch for reloading; a reload is asked for"
_LOOP = f"{NOT_SERVED}measurements of the event loop in an answer; `peergate doctor` and the log tell when it lags"
_MODELS = f"{NOT_SERVED}one model for all; an agent's runtime says what it is"
_BUILD = f"{NOT_SERVED}builds of a bundled Control UI that would have to match"
_UI_STATE = f"{NOT_SERVED}sessions with such a state: archived, pinned, read and shared ones are the Control UI's"
_OURS = "ours: told besides, and passed over by OpenClaw's clients"
_CONFIG = "the configuration is one tree, valid when it is told; there are no layers of it to tell apart"
_META = "a run's result is its text and how long it took; models, prices and prompts are the agent's own"


def listed(why: str, *places: str) -> dict[str, str]:
    """These places differ for this reason."""
    return dict.fromkeys(places, why)


PAYLOADS: dict[str, dict[str, str]] = {
    "hello-ok": {
        **listed(NO_RECOVERY, "-auth.recoveryMigrationAllowed", "-auth.recoveryScope"),
        **listed("no capability of OpenClaw's list is implemented whole, so none is claimed", "-features.capabilities"),
        **listed("attachments and shared sessions are not served", "-policy.allowedSessionVisibilities",
                 "-policy.attachments", "-policy.hasMultipleSessionSharingIdentities"),
        **listed(_BUILD, "-server.bootId", "-server.buildId", "-server.controlUiBuildSource"),
        **listed(_CONFIG, "-snapshot.appliedConfigHash"),
        **listed(_RELOAD, "-snapshot.health.configReload"),
        **listed(_LOOP, "-snapshot.health.eventLoop"),
        **listed(_PLUGINS, "-snapshot.health.plugins"),
        **listed(_OURS, "+snapshot.presence[].onlineSince"),
        **listed("our own addresses are nobody's business", "-snapshot.presence[].ip"),
        **listed("the gateway is no client", "-snapshot.presence[].instanceId"),
        **listed(_MODELS, "-snapshot.sessionDefaults.modelConfigured"),
        **listed("a gateway that is suspended does not greet", "-snapshot.suspension"),
        **listed(f"{NOT_SERVED}updates of itself", "-snapshot.updateSchedule"),
    },
    "agents.list": {
        **listed(_OURS, "+agents[].isDefault", "+agents[].runtime"),
        **listed(_MODELS, "-agents[].agentRuntime", "-agents[].thinkingDefault", "-agents[].thinkingLevels",
                 "-agents[].thinkingOptions"),
        **listed(f"{NOT_SERVED}workspaces and permission modes of agents", "-agents[].workspace",
                 "-agents[].workspaceGit", "-agents[].defaultPermissionMode"),
    },
    "sessions.list": {
        **listed(_OURS, "+offset"),
        **listed(_MODELS, "-defaults.agentRuntime", "-defaults.contextTokens", "-defaults.model",
                 "-defaults.modelProvider", "-defaults.modelSelectionTarget", "-defaults.thinkingDefault",
                 "-defaults.thinkingLevels", "-defaults.thinkingOptions"),
        **listed(_UI_STATE, "-owners"),
    },
    "config.get": {
        **listed(_CONFIG, "-appliedConfigHash", "-includedPaths", "-legacyIssues", "-runtimeConfig", "-sourceConfig",
                 "-warnings"),
        **listed("a gateway never sees the file, only what the supervisor made of it", "~path"),
    },
    "chat.history": {
        **listed(_OURS, "+deltaCursor", "+inFlightRun", "+sessionId", "+thinkingLevel"),
        **listed(_MODELS, "-defaults.agentRuntime", "-defaults.contextTokens", "-defaults.model",
                 "-defaults.modelProvider", "-defaults.modelSelectionTarget"),
        **listed("what waits for a session is told by `mailbox.list`", "-pendingInputs"),
        **listed("a session that nobody has spoken to yet is not there", "~sessionInfo",
                 *(f"-sessionInfo.{name}" for name in
                   ("activeRunIds", "agentId", "archived", "classification", "hasActiveRun", "isBackground", "isMain",
                    "key", "kind", "pinned", "snapshotAt", "unread", "updatedAt"))),
    },
    "health": {
        **listed(_OURS, "+agents[].id", "+agents[].runtime", "+agents[].sessions.total", "+connections", "+database",
                 "+epoch", "+generation", "+runs", "+sessions.total", "+uptimeMs", "+version", "+workers"),
        **listed(_RELOAD, "-configReload"),
        **listed(_LOOP, "-eventLoop"),
        **listed(_PLUGINS, "-plugins"),
    },
    "device.pair.list": listed(
        "ours: why it waits, until when, and the digest that an approval quotes",
        "+pending[].reason", "+pending[].expiresAtMs", "+pending[].digest",
    ),
    "agent finished": {
        **listed(_OURS, "+sessionKey"),
        **listed(_META, "-result.meta.aborted", "-result.meta.agentMeta", "-result.meta.finalAssistantVisibleText",
                 "-result.meta.stopReason"),
        **listed("nothing is delivered to a channel, and no media is made", "-sourceReplyDeliveryState",
                 "-result.payloads[].mediaUrl"),
    },
    "agent lifecycle start": {
        **listed(_OURS, "+data.attempt", "+data.pid"),
        **listed("a session's id is told with the session; its key says which it is", "-sessionId"),
    },
    "agent assistant": listed("a reply is one item", "-data.itemId"),
    "agent lifecycle end": {
        **listed(_OURS, "+data.state"),
        **listed("told by the final chat event and by the answer", "-data.terminalReply", "-data.stopReason",
                 "-data.livenessState"),
        **listed("a session's id is told with the session; its key says which it is", "-sessionId"),
    },
}  # fmt: skip
