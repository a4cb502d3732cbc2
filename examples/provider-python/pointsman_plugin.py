"""Speaks the gateway's side of a provider plugin: handshake, mutual TLS, gRPC. It needs no change.

The contract is provider.proto; the handshake is HashiCorp's go-plugin's."""

import base64
import datetime
import glob
import json
import os
import signal
import sys
import threading
from concurrent import futures

HERE = os.path.dirname(os.path.realpath(__file__))
# Packages in .venv beside this file are found by the system's python3 too, which is what the gateway starts.
sys.path += glob.glob(HERE + "/.venv/lib/python3*/site-packages")

import grpc  # noqa: E402

MAX_MESSAGE = 32 << 20
PIECE = 256 << 10  # larger parts are sent in pieces


class SettingError(Exception):
    """A setting of the provider is wrong; the text names it."""


class Refused(Exception):
    """An error answer of the provider: its status and its body."""

    def __init__(self, status, body):
        super().__init__(status)
        self.status, self.body = status, body


def serve(*adapters):
    """Runs the plugin until the gateway ends it."""
    if os.environ.get("POINTSMAN_PLUGIN") != "3f1f6c0a-provider-plugin-v1":
        sys.exit("This is a provider plugin of Pointsman: name it in the gateway's configuration.")
    if "1" not in os.environ.get("PLUGIN_PROTOCOL_VERSIONS", "1").split(","):
        sys.exit("the gateway does not speak version 1 of the protocol")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the gateway's terminal is the gateway's business
    messages = grpc.protos("provider.proto")
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=64),
        options=[("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)],
    )
    service = Service(messages, adapters)
    handlers = {
        "Describe": grpc.unary_unary_rpc_method_handler(
            service.describe, messages.DescribeRequest.FromString, messages.DescribeResponse.SerializeToString
        ),
        "Prepare": grpc.unary_unary_rpc_method_handler(
            service.prepare, messages.PrepareRequest.FromString, messages.PrepareResponse.SerializeToString
        ),
        "Call": grpc.unary_stream_rpc_method_handler(
            service.call, messages.CallRequest.FromString, messages.CallResponse.SerializeToString
        ),
    }
    health = {"Check": grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")}  # SERVING
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("pointsman.provider.v1.ProviderService", handlers),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
    ))
    socket = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "plugin")
    certificate = ""
    if trusted := os.environ.get("PLUGIN_CLIENT_CERT"):
        key, chain, certificate = make_certificate()
        server.add_secure_port("unix:" + socket, grpc.ssl_server_credentials([(key, chain)], trusted.encode(), True))
    else:
        server.add_insecure_port("unix:" + socket)
    server.start()
    print(f"1|1|unix|{socket}|grpc|{certificate}", flush=True)
    sys.stdin.buffer.read()  # ends when the gateway does
    server.stop(0)
    os._exit(0)


def make_certificate():
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + 9999 * day)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    signed = builder.sign(key, hashes.SHA256())
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    der = signed.public_bytes(serialization.Encoding.DER)
    return text, signed.public_bytes(serialization.Encoding.PEM), base64.b64encode(der).decode().rstrip("=")


class Service:
    def __init__(self, messages, adapters):
        self.messages, self.adapters = messages, {adapter.name: adapter for adapter in adapters}

    def find(self, name, context):
        return self.adapters.get(name) or context.abort(grpc.StatusCode.NOT_FOUND, f"no adapter {name!r}")

    def describe(self, request, context):
        answer = self.messages.DescribeResponse()
        for a in self.adapters.values():
            answer.adapters.add(name=a.name, version=a.version, summary=a.summary)
        return answer

    def prepare(self, request, context):
        answer = self.messages.PrepareResponse()
        try:
            self.find(request.adapter, context).prepare(request, answer.endpoint)
        except SettingError as e:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"wrong provider setting: {e}")
        return answer

    def call(self, request, context):
        adapter = self.find(request.adapter, context)
        if not hasattr(adapter, "call"):
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "the adapter makes no calls")
        ended = threading.Event()
        context.add_callback(ended.set)
        answer, m = adapter.call(request, ended.is_set), self.messages
        try:
            first = next(answer, None)
        except Refused as e:
            answer, first, status = iter(()), e.body, e.status
        else:
            status = 200
        yield m.CallResponse(head=m.Head(status=status, header={"content-type": "application/json"}))
        while first is not None:
            data = json.dumps(first).encode()
            for at in range(0, len(data), PIECE):
                yield m.CallResponse(part=m.Part(data=data[at : at + PIECE], more=at + PIECE < len(data)))
            first = next(answer, None)
