// OpenClaw's published client library (@openclaw/gateway-client) against a gateway of ours; run by openclaw.py.
//
//     node client.mjs <packages> <url> <token> <fingerprint>
//
// `packages` is a directory with node_modules. What needs a person is written to standard output as a line
// {"approve": requestId} and waited for as a line on standard input. The last line is {"done": true} or {"failed": why}.
import { createHash, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [packages, url, token, fingerprint] = process.argv.slice(2);
const load = async (name) => import(pathToFileURL(`${packages}/node_modules/${name}`));
const { GatewayClient } = await load("@openclaw/gateway-client/dist/index.mjs");
const { Ajv } = (await load("ajv/dist/ajv.js")).default;
const schema = JSON.parse(readFileSync(`${packages}/node_modules/@openclaw/gateway-protocol/protocol.schema.json`, "utf8"));

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (told) => console.log(JSON.stringify(told));
const check = (what, fine, about) => {
  say({ check: what, fine: Boolean(fine), about });
  if (!fine) throw new Error(`${what}: ${JSON.stringify(about)}`);
};

// --- a device ---------------------------------------------------------------------------------------------------
const raw = (pem) => createPublicKey(pem).export({ format: "jwk" }).x;
const pair = generateKeyPairSync("ed25519", {
  publicKeyEncoding: { type: "spki", format: "pem" }, privateKeyEncoding: { type: "pkcs8", format: "pem" },
});
const deviceId = createHash("sha256").update(Buffer.from(raw(pair.publicKey), "base64url")).digest("hex");
const deviceIdentity = { deviceId, publicKeyPem: pair.publicKey, privateKeyPem: pair.privateKey };
const kept = new Map();
const hostDeps = {
  signDevicePayload: (key, payload) => sign(null, Buffer.from(payload), key).toString("base64url"),
  publicKeyRawBase64UrlFromPem: raw,
  loadDeviceAuthToken: ({ role }) => kept.get(role) ?? null,
  storeDeviceAuthToken: ({ role, token, scopes }) => kept.set(role, { token, role, scopes, updatedAtMs: Date.now() }),
  clearDeviceAuthToken: ({ role }) => kept.delete(role),
};

const events = [];
const enter = (more) => new Promise((settle) => {
  const client = new GatewayClient({
    url, deviceIdentity, hostDeps, tlsFingerprint: fingerprint || undefined, clientName: "gateway-client",
    mode: "ui", clientVersion: "2026.9.1", platform: "linux", deviceFamily: "Linux", minProtocol: 4, maxProtocol: 4,
    onEvent: (event) => events.push(event), onHelloOk: (hello) => settle({ client, hello }),
    onConnectError: (error) => { settle({ error }); client.stop(); }, ...more,
  });
  client.start();
});
const refusal = async (promise) => promise.then((value) => ({ value }), (error) => error);

// --- the published schema ---------------------------------------------------------------------------------------
const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
ajv.addSchema({ ...schema, $id: "openclaw" });
// Later releases of the gateway send these, and the package's schema does not know them yet.
const LATER = { HelloOk: ["/auth method"] };
const faults = (kind, value) => {
  const validate = ajv.getSchema(`openclaw#/definitions/${kind}`);
  return validate(value) ? [] : validate.errors.map((one) => `${one.instancePath} ${one.params.additionalProperty ?? one.message}`)
    .filter((fault) => !(LATER[kind] ?? []).includes(fault));
};

const scopes = ["operator.read", "operator.write"];
try {
  const alone = await enter({ token, deviceIdentity: null });
  check("the token alone is no way in", alone.error?.message.includes("device identity required"), alone.error?.message);

  const asked = await enter({ token, scopes });
  const requestId = asked.error?.details?.requestId;
  check("an unknown device waits for a person", requestId, { message: asked.error?.message, details: asked.error?.details });
  say({ approve: requestId });
  await lines.next();

  const first = await enter({ token, scopes });
  check("once approved it is greeted", first.hello?.auth?.scopes?.length === 2, first.error?.message);
  check("its token is kept", kept.get("operator")?.token, [...kept.keys()]);
  check("hello-ok fits the published schema", faults("HelloOk", first.hello).length === 0, faults("HelloOk", first.hello));
  const { client } = first;
  for (const [method, kind, params = {}] of [
    ["agent.identity.get", "AgentIdentityResult"], ["models.list", "ModelsListResult"],
    ["tools.catalog", "ToolsCatalogResult"], ["channels.status", "ChannelsStatusResult"],
    ["logs.tail", "LogsTailResult", { limit: 5 }], ["health"], ["sessions.list"],
  ]) {
    const told = await client.request(method, params);
    const wrong = kind ? faults(kind, told) : [];
    check(`${method} is answered${kind ? " as the schema has it" : ""}`, wrong.length === 0, wrong);
  }
  const denied = await refusal(client.request("device.pair.list", {}));
  check("a scope it does not have is missing", denied.gatewayCode === "FORBIDDEN" && denied.message === "missing scope: operator.pairing",
    [denied.gatewayCode, denied.message, denied.details]);
  const unknown = await refusal(client.request("no.such.method", {}));
  check("what there is not is for administrators", unknown.gatewayCode === "FORBIDDEN", [unknown.gatewayCode, unknown.message]);
  const run = await client.request("agent", { message: "hello", idempotencyKey: `k-${Date.now()}`, sessionKey: "main" }, { expectFinal: true });
  check("a run is waited for to its end", run.status === "ok", run);
  const chat = events.filter((one) => one.event === "chat").flatMap((one) => faults("ChatEvent", one.payload));
  check("chat events fit the schema", events.some((one) => one.event === "chat") && chat.length === 0, chat);
  const frames = events.flatMap((one) => faults("EventFrame", one));
  check("event frames fit the schema", frames.length === 0, frames);
  client.stop();

  const back = await enter({ scopes });
  check("it comes back by its own token", back.hello?.auth?.method === "device-token", back.error?.message);
  back.client?.stop();

  const more = await enter({ scopes: [...scopes, "operator.admin"] });
  check("more than approved is a scope error", more.error?.details?.code === "AUTH_SCOPE_MISMATCH", [more.error?.message, more.error?.details]);
  say({ done: true });
  process.exit(0);
} catch (error) {
  say({ failed: String(error.stack ?? error) });
  process.exit(1);
}
