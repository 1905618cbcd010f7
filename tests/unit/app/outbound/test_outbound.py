"""The connection itself: which address it goes to, who is at the other end, and for how long."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.outbound import network
from app.outbound.client import Answer, Client, RequestInvalid
from app.outbound.network import RequestFailed
from app.outbound.urls import UrlPolicy, UrlRefused, check_url_shape

OPEN = UrlPolicy(allow_http=True, allow_private=True)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nok"

pytestmark = pytest.mark.timeout(30)


class Server:
    """Accepts on loopback and gives each connection to `serve`; counts them."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.connections = 0
        self.received = b""
        self._serve = serve
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection, contextlib.suppress(OSError):
                self._serve(connection)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(timeout=10)


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], Server]]:
    servers: list[Server] = []

    def start(handler: Callable[[socket.socket], None]) -> Server:
        servers.append(Server(handler))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def read_request(connection: socket.socket) -> None:
    """All of it: closing with unread data resets the connection, and the answer may be lost."""
    received = b""
    while not received.endswith(b"\r\n\r\n{}"):
        if not (data := connection.recv(65536)):
            return
        received += data


def answering(data: bytes) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(data)

    return handle


def send(
    url: str,
    *,
    policy: UrlPolicy = OPEN,
    timeout: float = 5.0,
    resolve: Callable[[str, int], list[str]] | None = None,
    tls: ssl.SSLContext | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"{}",
    limit: int = 100,
    sender: Client | None = None,
) -> Answer:
    used = sender or Client(policy, resolve=resolve, tls=tls)
    try:
        return used.request(
            "POST",
            check_url_shape(url, policy),
            headers=headers,
            body=body,
            timeout=timeout,
            max_response_bytes=limit,
        )
    finally:
        if sender is None:
            used.close()


@pytest.fixture
def sender() -> Iterator[Client]:
    """One that keeps its connections."""
    made = Client(OPEN)
    yield made
    made.close()


def test_an_answer(serve: Callable[..., Server]) -> None:
    server = serve(answering(OK))

    answer = send(f"http://127.0.0.1:{server.port}/")

    assert (answer.status, answer.body, answer.headers["retry-after"]) == (200, b"ok", "7")


def test_a_connection_is_kept_and_used_again(serve: Callable[..., Server], sender: Client) -> None:
    def twice(connection: socket.socket) -> None:
        for _ in range(2):
            read_request(connection)
            connection.sendall(OK)

    server = serve(twice)

    for _ in range(2):
        assert send(f"http://127.0.0.1:{server.port}/", sender=sender).status == 200

    assert server.connections == 1


def test_a_kept_connection_that_the_receiver_closed_is_replaced(serve: Callable[..., Server], sender: Client) -> None:
    closed = threading.Event()

    def once(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    server = serve(once)
    for _ in range(2):
        assert send(f"http://127.0.0.1:{server.port}/", sender=sender).status == 200
        assert closed.wait(5)

    assert server.connections == 2


def test_a_kept_connection_that_breaks_while_it_is_used_is_replaced_once(
    serve: Callable[..., Server], sender: Client
) -> None:
    """The receiver closes in the moment in which the next request is on its way."""
    served = 0

    def breaking(connection: socket.socket) -> None:
        nonlocal served
        served += 1
        read_request(connection)
        if served == 3:
            return
        connection.sendall(OK)
        read_request(connection)

    server = serve(breaking)
    for _ in range(2):
        assert send(f"http://127.0.0.1:{server.port}/", sender=sender).status == 200
    # The third connection breaks as well, and was made for this very request: that is the receiver's answer.
    with pytest.raises(RequestFailed, match="did not answer in HTTP"):
        send(f"http://127.0.0.1:{server.port}/", sender=sender)

    assert server.connections == 3


def test_an_answer_that_breaks_off_in_its_body_is_an_answer(
    serve: Callable[..., Server], sender: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a kept connection, whose breaking before an answer has the request sent again: after one that is twice."""
    requests = 0

    def breaking(connection: socket.socket) -> None:
        nonlocal requests
        for answer in (OK, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"):
            read_request(connection)
            requests += 1
            connection.sendall(answer)
        connection.recv(1)

    read = network._DeadlineStream.read
    broken: set[network._DeadlineStream] = set()

    def reset_after_part(self: network._DeadlineStream, max_bytes: int, timeout: float | None = None) -> bytes:
        if self in broken:
            raise ConnectionResetError(104, "Connection reset by peer")
        data = read(self, max_bytes, timeout)
        if data.endswith(b"part"):
            broken.add(self)
        return data

    monkeypatch.setattr(network._DeadlineStream, "read", reset_after_part)
    server = serve(breaking)
    url = f"http://127.0.0.1:{server.port}/"

    assert [send(url, sender=sender).body for _ in range(2)] == [b"ok", b"part"]
    assert (requests, server.connections) == (2, 1)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """All below 1,024 are taken, so that whatever is opened now has a number that select refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 2048:
        pytest.skip(f"this process may have {hard} descriptors, and the test needs 2,048")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] < 1100:
        taken.append(os.dup(taken[0]))
    yield
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_a_kept_connection_of_a_process_with_a_thousand_descriptors(
    serve: Callable[..., Server], sender: Client
) -> None:
    def twice(connection: socket.socket) -> None:
        assert connection.fileno() >= 1024
        for _ in range(2):
            read_request(connection)
            connection.sendall(OK)

    server = serve(twice)
    for _ in range(3):
        # Used again, found closed by its receiver, replaced.
        assert send(f"http://127.0.0.1:{server.port}/", sender=sender).status == 200
    assert server.connections == 2


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%eth0"]])
def test_a_name_that_resolves_to_the_inside_is_not_connected_to(
    serve: Callable[..., Server], addresses: list[str]
) -> None:
    server = serve(answering(OK))

    with pytest.raises(UrlRefused):
        send(
            f"http://rebind.example:{server.port}/",
            policy=UrlPolicy(allow_http=True),
            resolve=lambda host, port: addresses,
        )

    assert server.connections == 0


def test_the_name_is_resolved_once_and_that_address_is_used(serve: Callable[..., Server]) -> None:
    """DNS rebinding: a second lookup would answer something else than what was checked."""
    server = serve(answering(OK))
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    assert send(f"http://hooks.invalid:{server.port}/", resolve=resolve).status == 200
    assert asked == ["hooks.invalid"]


def test_the_next_address_is_tried_when_one_is_dead(serve: Callable[..., Server]) -> None:
    server = serve(answering(OK))

    answer = send(f"http://two.example:{server.port}/", resolve=lambda host, port: ["127.0.0.99", "127.0.0.1"])

    assert answer.status == 200


def test_an_unknown_name(serve: Callable[..., Server]) -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror("no such name")

    with pytest.raises(RequestFailed, match="could not be resolved"):
        send("http://nowhere.invalid/", resolve=resolve)


def test_a_hanging_name_server_is_within_the_deadline() -> None:
    release = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        release.wait(10)
        return []

    began = time.monotonic()
    with pytest.raises(RequestFailed, match=r"within 0\.2 s"):
        send("http://slow.invalid/", resolve=resolve, timeout=0.2)
    release.set()

    assert time.monotonic() - began < 4


def test_a_receiver_that_reads_slowly_is_within_the_deadline(serve: Callable[..., Server]) -> None:
    done = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while connection.recv(100) and not done.wait(0.02):
            pass

    server = serve(trickle)
    began = time.monotonic()

    with pytest.raises(RequestFailed, match="within"):
        send(f"http://127.0.0.1:{server.port}/", body=b"x" * 20_000_000, timeout=0.3)
    done.set()

    assert time.monotonic() - began < 5


def test_a_body_that_never_ends_is_cut_and_its_status_counts(serve: Callable[..., Server]) -> None:
    def endless(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(500):
            connection.sendall(b"x")
            time.sleep(0.02)

    server = serve(endless)
    began = time.monotonic()

    answer = send(f"http://127.0.0.1:{server.port}/", timeout=0.3)

    assert answer.status == 200
    assert 0 < len(answer.body) <= 100
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "closed the connection|did not answer in HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "did not answer in HTTP"),
    ],
)
def test_what_is_no_http_is_a_failure_worth_a_retry(serve: Callable[..., Server], data: bytes, reason: str) -> None:
    server = serve(answering(data))

    with pytest.raises(RequestFailed, match=reason) as failed:
        send(f"http://127.0.0.1:{server.port}/")

    assert not isinstance(failed.value, RequestInvalid)
    assert len(str(failed.value)) <= 200


@pytest.mark.parametrize("header", [("X", "a\r\nInjected: b"), ("X y", "a"), ("X", "a\x00"), ("X", "日本")])
def test_an_illegal_header_is_final(serve: Callable[..., Server], header: tuple[str, str]) -> None:
    server = serve(answering(OK))

    with pytest.raises(RequestInvalid):
        send(f"http://127.0.0.1:{server.port}/", headers=(header,))


def test_no_proxy_is_read_from_the_environment(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server = serve(answering(OK))

    assert send(f"http://127.0.0.1:{server.port}/").status == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for hooks.example and 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("hooks.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def tls_answering(certificate: Path) -> Callable[[socket.socket], None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            read_request(secured)
            secured.sendall(OK)

    return handle


@pytest.mark.parametrize("host", ["hooks.example", "127.0.0.1"])
def test_tls_verifies_the_name_and_not_the_address(serve: Callable[..., Server], certificate: Path, host: str) -> None:
    server = serve(tls_answering(certificate))
    trusting = ssl.create_default_context(cafile=str(certificate))

    answer = send(f"https://{host}:{server.port}/", tls=trusting, resolve=lambda host, port: ["127.0.0.1"])

    assert answer.status == 200


def test_a_certificate_for_another_name_is_refused(serve: Callable[..., Server], certificate: Path) -> None:
    server = serve(tls_answering(certificate))
    trusting = ssl.create_default_context(cafile=str(certificate))

    with pytest.raises(RequestFailed, match="certificate is not valid: Hostname mismatch"):
        send(f"https://other.example:{server.port}/", tls=trusting, resolve=lambda host, port: ["127.0.0.1"])


def test_an_unknown_authority_is_refused(serve: Callable[..., Server], certificate: Path) -> None:
    server = serve(tls_answering(certificate))

    with pytest.raises(RequestFailed, match="certificate is not valid: self-signed"):
        send(f"https://hooks.example:{server.port}/", resolve=lambda host, port: ["127.0.0.1"])


def test_a_stalled_handshake_is_within_the_deadline(serve: Callable[..., Server]) -> None:
    done = threading.Event()
    server = serve(lambda connection: done.wait(5) and None)
    began = time.monotonic()

    with pytest.raises(RequestFailed, match="within"):
        send(f"https://127.0.0.1:{server.port}/", timeout=0.3)
    done.set()

    assert time.monotonic() - began < 4
