"""The page over HTTP: for this machine, under no other name, nothing but its files."""

from __future__ import annotations

import http.client
import socket
import threading

import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.reports.view import Gallery, serving
from nnw_onnx.reports.view.server import HEADERS

from ..fuzz.run_folders import write_run  # noqa: TID252 - shared by several rooms' tests
from ..measures.made import invented  # noqa: TID252 - likewise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("runs")
    write_run(made / "run", *invented(1, 1, 1, 1, 20).parts)
    (made / "run" / "keys" / "k.npz").write_bytes(b"secret")
    return made


@pytest.fixture(scope="module")
def server(folder):
    gallery = Gallery(folder, live=True)
    gallery.refresh()
    with serving(gallery, 0) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection(*server.server_address, timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def test_it_listens_on_the_loopback_interface_only(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/index.html?x=1", "text/html"),
        ("/view.css", "text/css"),
        ("/view.js", "text/javascript"),
        ("/data/runs.js?123", "text/javascript"),
    ],
)
def test_files_of_the_page_are_answered_with_headers_that_bind_the_browser(server, path, kind):
    status, headers, body = ask(server, path)
    assert status == 200
    assert body
    assert headers["Content-Type"] == f"{kind}; charset=utf-8"
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert int(headers["Content-Length"]) == len(body)
    assert "Access-Control-Allow-Origin" not in headers


def test_the_policy_lets_nothing_in_but_files_of_the_page():
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_runs_and_their_records_are_answered(server):
    _, _, body = ask(server, "/data/runs.js")
    key = body.decode().partition('"key":"')[2].partition('"')[0]
    assert ask(server, f"/data/{key}.js")[0] == 200
    assert ask(server, f"/data/{key}/0.js")[0] == 200
    assert ask(server, f"/data/{key}/7.js")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/run/plan.json",
        "/run/keys/k.npz",
        "/data/../../run/keys/k.npz",
        "/../run/keys/k.npz",
        "/%2e%2e/run/keys/k.npz",
        "//etc/passwd",
        "/data/",
        "/data/run/keys/k.npz",
        "/data/\\..\\x.js",
    ],
)
def test_there_is_no_path_to_anything_else(server, path):
    status, headers, body = ask(server, path)
    assert (status, body) == (404, b"no such page\n")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "[::1]:1", ""])
def test_under_another_name_nothing_is_answered(server, host):
    status, _, body = ask(server, "/data/runs.js", Host=host)
    assert (status, body) == (421, b"not for this host\n")


def test_localhost_is_a_name_of_it(server):
    assert ask(server, "/", Host=f"localhost:{server.server_address[1]}")[0] == 200


def test_a_head_has_no_body(server):
    status, headers, body = ask(server, "/view.css", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 1000


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods_are_refused(server, method):
    assert ask(server, "/", method)[0] == 501


def test_a_port_that_is_taken_is_refused(server, folder):
    port = server.server_address[1]
    with (
        pytest.raises(ConfigurationError, match=f"--port: expected a free port, got {port}: "),
        serving(Gallery(folder, live=True), port),
    ):
        pass


def test_a_reader_that_goes_away_stops_nothing_and_says_nothing(server, capfd):
    with socket.create_connection(server.server_address) as one:
        one.sendall(b"GET / HTTP/1.1\r\nHost: x")
    assert ask(server, "/")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_runs_that_are_gone_are_told(tmp_path):
    write_run(tmp_path / "run", *invented(1, 1, 1, 1, 20).parts)
    gallery = Gallery(tmp_path, live=True)
    gallery.refresh()
    (tmp_path / "run" / "plan.json").unlink()
    with serving(gallery, 0) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        status, _, body = ask(made, "/data/runs.js")
        made.shutdown()
        thread.join()
    assert status == 503
    assert b"expected a folder with runs" in body
