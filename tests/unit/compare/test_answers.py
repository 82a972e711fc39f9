"""Asking a real server each image once."""

from __future__ import annotations

import threading
import time
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from drillctl.compare.answers import AT_ONCE, ask


class Handler(BaseHTTPRequestHandler):
    """Answers with what it was asked; the name of the image is its cue."""

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        kind = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        (part,) = message_from_bytes(kind + self.rfile.read(length)).get_payload()
        name, content = part.get_filename(), part.get_payload(decode=True)
        with self.server.lock:
            self.server.asked.append((name, part.get_param("name", header="content-disposition")))
            self.server.busy += 1
            self.server.most_busy = max(self.server.most_busy, self.server.busy)
        time.sleep(0.8 if name == "slow.jpg" else 0.05)
        with self.server.lock:
            self.server.busy -= 1
        if name == "cut.jpg":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"short")
            self.close_connection = True
            return
        self.send_response({"bad.jpg": 400, "moved.jpg": 302}.get(name, 200))
        self.send_header("Location", "/elsewhere")
        self.send_header("X-Served-Zone", "zone-b")
        self.send_header("X-Served-Host", "b-1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.lock, made.asked, made.busy, made.most_busy = threading.Lock(), [], 0, 0
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    made.url = f"http://127.0.0.1:{made.server_address[1]}/predict"
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def image(tmp_path):
    def make(name):
        path = tmp_path / name
        path.write_bytes(b"image of " + name.encode())
        return path

    return make


def test_each_image_is_asked_once_in_the_field_file(server, image):
    paths = [image(f"{number}.jpg") for number in range(12)]
    found = ask(server.url, paths, timeout=5)
    assert sorted(server.asked) == sorted((path.name, "file") for path in paths)
    assert list(found) == [path.name for path in paths]
    assert all(answer.body == f"image of {name}".encode() for name, answer in found.items())
    assert {(answer.status, answer.zone, answer.host, answer.error) for answer in found.values()} == {
        (200, "zone-b", "b-1", None)
    }
    assert 1 < server.most_busy <= AT_ONCE


def test_headers_may_have_other_names(server, image):
    found = ask(server.url, [image("a.jpg")], 5, zone_header="x-served-host", host_header="X-Nothing")
    assert (found["a.jpg"].zone, found["a.jpg"].host) == ("b-1", None)


def test_other_statuses_are_answers_and_redirects_are_not_followed(server, image):
    found = ask(server.url, [image("bad.jpg"), image("moved.jpg")], 5)
    assert {name: answer.status for name, answer in found.items()} == {"bad.jpg": 400, "moved.jpg": 302}
    assert len(server.asked) == 2


def test_request_that_fails_says_why_and_the_others_are_answered(server, image):
    found = ask(server.url, [image("slow.jpg"), image("cut.jpg"), image("fine.jpg")], timeout=0.3)
    assert found["slow.jpg"].status is None
    assert found["slow.jpg"].error == "no answer within 0.3 s"
    assert found["cut.jpg"].status is None
    assert found["cut.jpg"].error == "the answer was cut off"
    assert found["fine.jpg"].status == 200


def test_server_that_is_not_there(server, image):
    found = ask("http://127.0.0.1:9/predict", [image("a.jpg")], 1)
    assert found["a.jpg"].error == "no connection, or it was closed before the answer"


def test_proxies_of_the_environment_are_not_used(server, image, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert ask(server.url, [image("a.jpg")], 5)["a.jpg"].status == 200


def test_two_images_of_one_name_are_refused(server, image, tmp_path):
    (tmp_path / "more").mkdir()
    with pytest.raises(ValueError, match="same file name"):
        ask(server.url, [image("a.jpg"), tmp_path / "more" / "a.jpg"], 1)


def test_image_that_is_not_there(server, tmp_path):
    with pytest.raises(FileNotFoundError):
        ask(server.url, [tmp_path / "gone.jpg"], 1)
