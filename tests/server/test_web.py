"""The web server: what a good one does, and every kind of fault."""

import hashlib
import http.client
import json
import os
import socket
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from server import control, ipxe, tls
from server.tink import TinkServer
from server.web import FAULTS, WebServer

DATA = bytes(range(256)) * 400  # 102400 bytes
SIZE = len(DATA)


@pytest.fixture
def web(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/disk.img").write_bytes(DATA)
    (tmp_path / "secret").write_text("no")
    with WebServer(directory=tmp_path / "images") as running:
        yield running


def fetch(web, path="/disk.img", method="GET", **headers):
    """(status, headers, body) over a connection of its own. An incomplete body raises."""
    connection = http.client.HTTPConnection(web.host, web.port, timeout=5)
    try:
        connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def raw(web, path="/disk.img", timeout_s=5):
    """Everything that comes until the connection ends, and whether it ended by RST."""
    with socket.create_connection((web.host, web.port), timeout=timeout_s) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        data = b""
        try:
            while chunk := sock.recv(65536):
                data += chunk
        except ConnectionResetError:
            return data, True
        return data, False


def test_a_file(web):
    status, headers, body = fetch(web)
    assert (status, body) == (200, DATA)
    assert (headers["Content-Length"], headers["Accept-Ranges"]) == (str(SIZE), "bytes")
    assert headers["ETag"] == fetch(web, method="HEAD")[1]["ETag"]
    assert fetch(web, method="HEAD")[2] == b""


@pytest.mark.parametrize("text, start, end", [
    ("bytes=0-0", 0, 1), ("bytes=100-199", 100, 200), (f"bytes={SIZE - 5}-", SIZE - 5, SIZE), ("bytes=-7", SIZE - 7, SIZE),
    (f"bytes=10-{SIZE * 2}", 10, SIZE)])
def test_ranges(web, text, start, end):
    status, headers, body = fetch(web, Range=text)
    assert (status, body) == (206, DATA[start:end])
    assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"


def test_range_beyond_the_end(web):
    status, headers, _ = fetch(web, Range=f"bytes={SIZE}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{SIZE}")


def test_if_range(web):
    etag = fetch(web, method="HEAD")[1]["ETag"]
    assert fetch(web, Range="bytes=1-1", If_Range=etag)[0] == 206
    assert fetch(web, Range="bytes=1-1", If_Range='"other"')[0] == 200


def test_many_requests_on_one_connection(web):
    connection = http.client.HTTPConnection(web.host, web.port, timeout=5)
    for _ in range(3):
        connection.request("GET", "/disk.img")
        sock = connection.sock
        assert connection.getresponse().read() == DATA
    assert connection.sock is sock
    connection.close()
    web.wait(lambda: all(request.end_s for request in web.requests), 2, "the end of the requests")
    assert [(r.method, r.status, r.sent_bytes) for r in web.requests] == [("GET", 200, SIZE)] * 3


@pytest.mark.parametrize("path", ["/none", "/../secret", "/..%2fsecret", "/%2e%2e/secret", "/"])
def test_nothing_outside_the_directory(web, path):
    assert fetch(web, path)[0] == 404


def test_a_large_file_by_sendfile(web, tmp_path):
    with open(tmp_path / "images/large", "wb") as file:
        file.truncate(300 << 20)
    start_s = time.monotonic()
    with urllib.request.urlopen(web.url + "/large") as response:
        size = 0
        while chunk := response.read(1 << 20):
            size += len(chunk)
    assert size == 300 << 20
    assert time.monotonic() - start_s < 5


def test_content_and_routes(web):
    assert web.add("/x y", "hello") == f"{web.url}/x%20y"
    web.route("POST", "/echo", lambda request: {"got": request.body.decode(), "query": request.query})
    assert fetch(web, "/x%20y")[2] == b"hello"
    request = urllib.request.Request(web.url + "/echo?a=1", data=b"data")
    assert json.load(urllib.request.urlopen(request)) == {"got": "data", "query": {"a": "1"}}
    assert json.loads(fetch(web, "/metadata")[2])["metadata"]["instance"]["storage"] == {}
    assert fetch(web, "/2009-04-04/user-data")[2] == b"#cloud-config\n"


def test_https(tmp_path, web):
    certificate = tls.make_certificate(tmp_path / "tls")
    context = ssl.create_default_context(cafile=certificate.ca)
    with WebServer(directory=tmp_path / "images", tls=certificate) as secure:
        assert urllib.request.urlopen(secure.url + "/disk.img", context=context).read() == DATA
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(secure.url + "/disk.img")
        with pytest.raises(http.client.IncompleteRead):
            urllib.request.urlopen(secure.url + "/disk.img?fault=cut&at=10", context=context).read()


def test_stop_and_start_on_the_same_port(web):
    port = web.port
    web.stop()
    with pytest.raises(ConnectionRefusedError):
        fetch(web)
    web.start()
    assert web.port == port
    assert fetch(web)[2] == DATA


# --- boot files


def test_ipxe_script(tmp_path):
    (tmp_path / "vmlinuz-x86_64").write_text("kernel")
    boot = ipxe.Boot(extra=["quiet", "a=b"])
    with WebServer(osie=tmp_path, boot=boot, grpc_port=42113) as web:
        for path in ("/ipxe/script/52:54:00:77:00:0A/auto.ipxe", "/52-54-00-77-00-0a/auto.ipxe",
                     "/ipxe/script/52%3A54%3A00%3A77%3A00%3A0a/auto.ipxe"):
            status, _, body = fetch(web, path, Host="10.0.2.2:7080")
            assert status == 200
            text = body.decode()
            assert text.startswith("#!ipxe\n")
            assert "set download-url http://10.0.2.2:7080\n" in text
            assert (
                "kernel ${download-url}/${kernel} facility= syslog_host= grpc_authority=10.0.2.2:42113 tinkerbell_tls=false "
                "tinkerbell_insecure_tls=false worker_id=52:54:00:77:00:0a hw_addr=52:54:00:77:00:0a "
                "modules=loop,squashfs,sd-mod,usb-storage intel_iommu=on iommu=pt initrd=${initrd} console=tty0 "
                "console=ttyS1,115200 quiet a=b && ") in text
        assert fetch(web, "/ipxe/script/nonsense/auto.ipxe")[0] == 404
        assert fetch(web, "/vmlinuz-x86_64")[2] == b"kernel"


def test_ipxe_script_with_everything_set():
    boot = ipxe.Boot(download_url="http://a:1", grpc_authority="b:2", syslog_host="192.0.2.1", facility="f", tls=True,
                     insecure_tls=True, vlan_id="7", worker_id="w1")
    text = ipxe.script(boot, "52:54:00:77:00:0a")
    assert ("${kernel} vlan_id=7 facility=f syslog_host=192.0.2.1 grpc_authority=b:2 tinkerbell_tls=true "
            "tinkerbell_insecure_tls=true worker_id=w1 hw_addr=52:54:00:77:00:0a modules=") in text
    assert "set syslog 192.0.2.1\n" in text


# --- faults


def incomplete(web, query):
    with pytest.raises(http.client.IncompleteRead) as caught:
        fetch(web, f"/disk.img?fault={query}")
    return caught.value.partial


@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_status(web, status):
    assert fetch(web, f"/disk.img?fault=status&status={status}")[0] == status


def test_redirects(web):
    assert fetch(web, "/disk.img?fault=redirect&to=/other")[1]["Location"] == "/other"
    with pytest.raises(urllib.error.HTTPError, match="infinite loop"):
        urllib.request.urlopen(web.url + "/disk.img?fault=redirect&status=307")


def test_cut(web):
    assert incomplete(web, "cut&at=5000") == DATA[:5000]
    data, was_reset = raw(web, "/disk.img?fault=cut&at=5000")
    assert data.endswith(DATA[:5000]) and not was_reset


def test_cut_counts_in_the_whole_file(web):
    web.fault("cut", at=5000)
    with pytest.raises(http.client.IncompleteRead) as caught:
        fetch(web, Range="bytes=4000-")
    assert caught.value.partial == DATA[4000:5000]


def test_reset(web):
    assert raw(web, "/disk.img?fault=reset&at=5000")[1]


def test_stall(web):
    with pytest.raises(TimeoutError):
        raw(web, "/disk.img?fault=stall&at=10", timeout_s=0.2)
    with pytest.raises(TimeoutError):
        raw(web, "/disk.img?fault=stall-header", timeout_s=0.2)
    data, _ = raw(web, "/disk.img?fault=stall&at=10&seconds=0.2")
    assert data.endswith(b"\r\n\r\n" + DATA[:10])


def test_close(web):
    assert raw(web, "/disk.img?fault=close") == (b"", False)
    data, _ = raw(web, "/disk.img?fault=close-header")
    assert data and b"\r\n\r\n" not in data


def test_lies_about_the_length(web):
    assert incomplete(web, "long&by=3") == DATA
    assert fetch(web, "/disk.img?fault=short&by=3")[2] == DATA[:-3]
    assert raw(web, "/disk.img?fault=short&by=3")[0].endswith(DATA)


@pytest.mark.parametrize("query, expected", [
    ("drop-byte&at=1000", DATA[:1000] + DATA[1001:]),
    ("add-byte&at=1000", DATA[:1000] + b"!" + DATA[1000:]),
    ("flip-bit&at=1000&bit=7", DATA[:1000] + bytes([DATA[1000] ^ 128]) + DATA[1001:]),
], ids=["drop-byte", "add-byte", "flip-bit"])
def test_wrong_bytes_with_true_headers(web, query, expected):
    status, headers, body = fetch(web, f"/disk.img?fault={query}")
    assert (status, headers["Content-Length"], body) == (200, str(len(expected)), expected)
    assert fetch(web, f"/disk.img?fault={query}", Range="bytes=990-1009")[2] == expected[990:1010]


def test_append(web):
    body = fetch(web, "/disk.img?fault=append&bytes=10")[2]
    assert len(body) == SIZE + 10 and body.startswith(DATA)


def test_slow(web):
    start_s = time.monotonic()
    assert fetch(web, f"/disk.img?fault=slow&rate={SIZE * 4}")[2] == DATA
    assert 0.2 < time.monotonic() - start_s < 2


def test_no_length(web):
    status, headers, body = fetch(web, "/disk.img?fault=no-length")
    assert (status, headers["Content-Length"], body) == (200, None, DATA)
    assert fetch(web, "/disk.img?fault=no-length-cut&at=99")[2] == DATA[:99]


def test_chunked(web):
    assert fetch(web, "/disk.img?fault=chunked")[2] == DATA
    with pytest.raises(http.client.IncompleteRead):
        fetch(web, "/disk.img?fault=chunked-cut&at=5000")


def test_ranges_gone_wrong(web):
    assert fetch(web, "/disk.img?fault=no-range", Range="bytes=10-19")[::2] == (200, DATA)
    status, headers, body = fetch(web, "/disk.img?fault=wrong-range&by=2", Range="bytes=10-19")
    assert (status, headers["Content-Range"], body) == (206, f"bytes 12-19/{SIZE}", DATA[12:20])
    status, headers, body = fetch(web, "/disk.img?fault=lying-range&by=2", Range="bytes=10-19")
    assert (status, headers["Content-Range"], body) == (206, f"bytes 10-19/{SIZE}", DATA[12:22])


def test_etags_gone_wrong(web):
    web.fault("changed", times=2)
    assert len({fetch(web, method="GET")[1]["ETag"] for _ in range(2)}) == 2
    assert fetch(web, "/disk.img?fault=no-etag")[1]["ETag"] is None


def test_ranges_of_doubtful_kinds(web):
    def part(query, **headers):
        status, headers, body = fetch(web, f"/disk.img?fault={query}", Range="bytes=10-19", **headers)
        return status, headers["Content-Range"], body
    assert part("short-range") == (206, f"bytes 10-14/{SIZE}", DATA[10:15])
    assert part("no-content-range") == (206, None, DATA[10:20])
    assert part("bad-content-range&value=bytes+x-y/z") == (206, "bytes x-y/z", DATA[10:20])
    assert part("other-total&by=5") == (206, f"bytes 10-19/{SIZE + 5}", DATA[10:20])
    assert part("ignore-if-range", If_Range='"other"') == (206, f"bytes 10-19/{SIZE}", DATA[10:20])
    assert part("no-etag", If_Range='"other"')[0] == 200
    with pytest.raises(http.client.IncompleteRead) as caught:
        part("cut-each&bytes=3")
    assert caught.value.partial == DATA[10:13]


def test_versions(web):
    weak = fetch(web, "/disk.img?fault=weak-etag")[1]
    assert weak["ETag"].startswith('W/"') and weak["Last-Modified"] is None
    assert fetch(web, "/disk.img?fault=weak-etag", Range="bytes=1-2", If_Range=weak["ETag"])[0] == 200
    date = fetch(web, "/disk.img?fault=only-date")[1]
    assert date["ETag"] is None and date["Last-Modified"].endswith("2000 00:00:00 GMT")
    assert fetch(web, "/disk.img?fault=only-date", Range="bytes=1-2", If_Range=date["Last-Modified"])[0] == 206
    good, (_, headers, body) = fetch(web)[1]["ETag"], fetch(web, "/disk.img?fault=replaced&from_=100&by=7")
    assert headers["ETag"] != good and len(body) == SIZE + 7
    assert body[:100] == DATA[:100] and body[100:200] != DATA[100:200]
    same = [fetch(web, f"/disk.img?fault=same-etag{also}")[1]["ETag"] for also in ("", "&also=replaced")]
    assert same[0] == same[1] != good


def test_traits(web):
    """What a fault may have besides."""
    _, headers, _ = fetch(web, "/disk.img?fault=slow&rate=10000000&also=no-etag,no-range")
    assert headers["ETag"] is None and headers["Accept-Ranges"] is None
    status, headers, body = fetch(web, "/disk.img?fault=chunked&also=no-etag", Range="bytes=1-2")
    assert (status, headers["ETag"], body) == (200, None, DATA)
    assert fetch(web, "/disk.img?fault=only-date&also=chunked", Range="bytes=1-2")[2] == DATA[1:3]
    with pytest.raises(http.client.IncompleteRead):
        fetch(web, "/disk.img?fault=cut&at=100&also=chunked")
    with pytest.raises(ValueError, match="no such trait"):
        web.fault("cut", also="nonsense")


def test_drip_and_retry_after(web):
    assert fetch(web, "/disk.img?fault=drip&at=50&bytes=20&seconds=0.001")[2] == DATA
    status, headers, _ = fetch(web, "/disk.img?fault=status&status=429&retry_after=7")
    assert (status, headers["Retry-After"]) == (429, "7")


def test_what_is_sent_here(web):
    web.route("PUT", "/store", lambda request: request.digest)
    connection = http.client.HTTPConnection(web.host, web.port, timeout=5)
    for body, digest in ((DATA, "sha256:" + hashlib.sha256(DATA).hexdigest()),
                         (iter([DATA[:10], DATA[10:]]), "sha256:" + hashlib.sha256(DATA).hexdigest())):
        connection.request("PUT", "/store", body=body, encode_chunked=not isinstance(body, bytes),
                           headers={} if isinstance(body, bytes) else {"Transfer-Encoding": "chunked"})
        assert connection.getresponse().read().decode() == digest
    connection.close()


def test_other_bodies(web):
    assert fetch(web, "/disk.img?fault=empty")[::2] == (200, b"")
    assert b"log in" in fetch(web, "/disk.img?fault=html")[2]
    with pytest.raises((http.client.BadStatusLine, http.client.LineTooLong)):
        fetch(web, "/disk.img?fault=garbage")
    assert fetch(web, "/disk.img?fault=gzip-encoding")[1]["Content-Encoding"] == "gzip"


def test_every_kind_has_a_test():
    text = open(__file__, encoding="utf-8").read()
    assert [kind for kind in FAULTS if f"fault={kind}" not in text and f'"{kind}' not in text] == []


def test_faults_by_path_count_and_skip(web):
    web.add("/other", b"x")
    fault = web.fault("status", path="/disk*", times=2, skip=1, status=503)
    assert [fetch(web)[0] for _ in range(4)] == [200, 503, 503, 200]
    assert fetch(web, "/other")[0] == 200
    assert fault.hits == 2
    web.fault("close")
    web.clear_faults()
    assert fetch(web)[0] == 200


def test_unknown_faults_are_refused(web):
    with pytest.raises(ValueError, match="no such fault"):
        web.fault("nonsense")
    with pytest.raises(ValueError, match="has no where"):
        web.fault("cut", where=3)
    assert fetch(web, "/disk.img?fault=nonsense")[0] == 400


# --- control


def post(server, path, /, **data):
    try:
        with urllib.request.urlopen(server.url + path, data=json.dumps(data).encode()) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def test_control(web):
    with TinkServer(long_poll_s=0.1) as server:
        control.attach(web, server)
        assert post(web, "/workflow", name="w", tasks=[
            {"name": "t", "worker": "a", "actions": [{"name": "one", "image": "i"}]}]) == 200
        assert post(web, "/fault", kind="late", seconds=1) == 200
        assert post(web, "/fault", web="cut", path="/disk.img", at=3) == 200
        assert post(web, "/fault", kind="nonsense") == 400
        assert post(web, "/fault", kind="late", nonsense=1) == 400
        assert post(web, "/fault") == 400
        state = json.load(urllib.request.urlopen(web.url + "/state"))
        assert [workflow["state"] for workflow in state["workflows"]] == ["PENDING"]
        assert [fault["kind"] for fault in state["faults"]] == ["late"]
        incomplete(web, "cut&at=3")
        assert post(web, "/fault", proxy="refuse") == 200
        assert server.proxy.mode == "refuse"
        assert post(web, "/fault", clear=True) == 200
        assert (server.proxy.mode, server.faults.faults, web.faults) == ("pass", [], [])
        assert post(web, "/delete", workflow="w") == 200
        assert post(web, "/delete", workflow="w") == 400
        assert "workflow w  deleted" in urllib.request.urlopen(web.url + "/log").read().decode()
        assert os.path.exists(web.directories[0])


def test_the_table_in_the_documentation():
    text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    rows = [f"| `{kind}` | {', '.join(f'`{name}`' for name in values)} | {meaning} |".replace("|  |", "| |")
            for kind, (values, meaning) in FAULTS.items()]
    assert [row for row in rows if row not in text] == []
