// Speaks the gateway's side of a provider plugin: handshake, mutual TLS, gRPC. It needs no change.
// The contract is provider.proto; the handshake is HashiCorp's go-plugin's.

import crypto from "node:crypto";
import { once } from "node:events";
import path from "node:path";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const MAX_MESSAGE = 32 << 20;
const PIECE = 256 << 10; // larger parts are sent in pieces

// A setting of the provider is wrong; the text names it.
export class SettingError extends Error {}

// An error answer of the provider: its status and its body.
export class Refused extends Error {
  constructor(status, body) {
    super(String(status));
    Object.assign(this, { status, body });
  }
}

// Runs the plugin until the gateway ends it.
export function serve(...adapters) {
  if (process.env.POINTSMAN_PLUGIN !== "3f1f6c0a-provider-plugin-v1") {
    console.error("This is a provider plugin of Pointsman: name it in the gateway's configuration.");
    process.exit(1);
  }
  process.on("SIGINT", () => {}); // Ctrl-C in the gateway's terminal is the gateway's business
  const options = { keepCase: true, defaults: true, longs: Number };
  const loaded = protoLoader.loadSync(path.join(import.meta.dirname, "provider.proto"), options);
  const server = new grpc.Server({ "grpc.max_receive_message_length": MAX_MESSAGE, "grpc.max_send_message_length": MAX_MESSAGE });
  server.addService(loaded["pointsman.provider.v1.ProviderService"], service(new Map(adapters.map((a) => [a.name, a]))));
  server.addService(healthService, { check: (call, done) => done(null, Buffer.from([8, 1])) }); // SERVING
  const socket = path.join(process.env.PLUGIN_UNIX_SOCKET_DIR, "plugin");
  const trusted = process.env.PLUGIN_CLIENT_CERT;
  let [credentials, certificate] = [grpc.ServerCredentials.createInsecure(), ""];
  if (trusted) {
    const own = makeCertificate();
    const pem = `-----BEGIN CERTIFICATE-----\n${own.der.toString("base64")}\n-----END CERTIFICATE-----\n`;
    credentials = grpc.ServerCredentials.createSsl(Buffer.from(trusted), [{ private_key: own.key, cert_chain: Buffer.from(pem) }], true);
    certificate = own.der.toString("base64").replace(/=+$/, "");
  }
  server.bindAsync("unix:" + socket, credentials, (error) => {
    if (error) throw error;
    process.stdout.write(`1|1|unix|${socket}|grpc|${certificate}\n`);
  });
  process.stdin.resume().on("end", () => process.exit(0)); // ends when the gateway does
}

const raw = { requestStream: false, responseStream: false, requestSerialize: (b) => b, requestDeserialize: (b) => b };
const healthService = { check: { ...raw, path: "/grpc.health.v1.Health/Check", responseSerialize: (b) => b, responseDeserialize: (b) => b } };

function service(adapters) {
  const find = (call) => {
    const adapter = adapters.get(call.request.adapter);
    if (!adapter) throw { code: grpc.status.NOT_FOUND, details: `no adapter ${JSON.stringify(call.request.adapter)}` };
    return adapter;
  };
  const failure = (e) => {
    if (e instanceof SettingError) return { code: grpc.status.INVALID_ARGUMENT, details: "wrong provider setting: " + e.message };
    return e.code !== undefined && e.details !== undefined ? e : { code: grpc.status.UNKNOWN, details: String(e.message ?? e) };
  };
  return {
    Describe(call, done) {
      done(null, { adapters: [...adapters.values()].map(({ name, version, summary }) => ({ name, version, summary })) });
    },
    Prepare(call, done) {
      try {
        done(null, { endpoint: find(call).prepare(call.request) });
      } catch (e) {
        done(failure(e));
      }
    },
    async Call(call) {
      const left = new AbortController();
      call.on("cancelled", () => left.abort());
      const send = async (message) => {
        if (!call.write(message) && !left.signal.aborted) await once(call, "drain", { signal: left.signal });
      };
      const sendBody = async (value) => {
        const data = Buffer.from(JSON.stringify(value));
        for (let at = 0; at < data.length; at += PIECE) {
          await send({ part: { data: data.subarray(at, at + PIECE), more: at + PIECE < data.length } });
        }
      };
      const head = (status) => send({ head: { status, header: { "content-type": "application/json" } } });
      try {
        const adapter = find(call);
        if (!adapter.call) throw { code: grpc.status.UNIMPLEMENTED, details: "the adapter makes no calls" };
        let begun = false;
        for await (const value of adapter.call(call.request, left.signal)) {
          if (left.signal.aborted) return;
          if (!begun) await head(200);
          begun = true;
          await sendBody(value);
        }
        call.end();
      } catch (e) {
        if (left.signal.aborted) return;
        if (!(e instanceof Refused)) return call.emit("error", failure(e));
        await head(e.status);
        await sendBody(e.body);
        call.end();
      }
    },
  };
}

// Makes a key and a certificate for "localhost" signed by itself: Node can read certificates, and DER is short to write.
function makeCertificate() {
  const { privateKey, publicKey } = crypto.generateKeyPairSync("ec", { namedCurve: "P-256" });
  const der = (tag, ...parts) => {
    const body = Buffer.concat(parts);
    const size = body.length < 128 ? [body.length] : body.length < 256 ? [0x81, body.length] : [0x82, body.length >> 8, body.length & 255];
    return Buffer.concat([Buffer.from([tag, ...size]), body]);
  };
  const hex = (text) => Buffer.from(text, "hex");
  const time = (days) => der(0x18, Buffer.from(new Date(Date.now() + days * 864e5).toISOString().replace(/[-:T]|\.\d+/g, "")));
  const algorithm = der(0x30, der(6, hex("2a8648ce3d040302"))); // ecdsa-with-SHA256
  const name = der(0x30, der(0x31, der(0x30, der(6, hex("550403")), der(12, Buffer.from("localhost")))));
  const names = der(4, der(0x30, der(0x82, Buffer.from("localhost"))));
  const extensions = der(0xa3, der(0x30, der(0x30, der(6, hex("551d11")), names))); // subjectAltName
  const serial = der(2, Buffer.concat([Buffer.from([1]), crypto.randomBytes(15)]));
  const key = publicKey.export({ type: "spki", format: "der" });
  const content = der(0x30, hex("a003020102"), serial, algorithm, name, der(0x30, time(-1), time(9999)), name, key, extensions);
  const signature = crypto.sign("sha256", content, privateKey);
  const signed = der(0x30, content, algorithm, der(3, Buffer.from([0]), signature));
  return { der: signed, key: Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" })) };
}
