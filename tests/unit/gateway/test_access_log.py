"""Counting who answered, on lines as nginx writes them."""

from __future__ import annotations

import pytest

from drillctl.gateway.access_log import count_served, total
from drillctl.gateway.gateway import Served

A, B = "10.0.1.1:8000", "10.0.2.1:8000"


@pytest.mark.parametrize(
    ("line", "server"),
    [
        (f'10.0.9.9 "GET /" 200 upstream={A} status=200', A),
        (f'10.0.9.9 "GET /" 200 "{B}"', B),
        (f'{{"upstream":"{B}","status":200}}', B),
        (f"upstream={A}, {B} status=502, 200", B),
        (f"upstream={A} : {B}", B),
        (f"{A}", A),
    ],
)
def test_the_last_server_tried_gave_the_answer(line: str, server: str) -> None:
    assert count_served(f"{line}\n".encode(), [A, B]) == Served(1, {server: 1})


@pytest.mark.parametrize("line", ["110.0.1.1:8000", "10.0.1.1:80001", "10.0.1.1:8000.5", "x-10.0.1.1:8000", "10.0.1.1"])
def test_longer_addresses_are_not_taken_for_the_server(line: str) -> None:
    assert count_served(f"{line}\n".encode(), [A, B]).by_address is None


def test_lines_of_other_requests_count_as_requests_only() -> None:
    lines = f"GET /status upstream=-\nGET / upstream={A}\n\nGET / upstream={A}\n".encode() + b"\xff\xfe junk\n"
    assert count_served(lines, [A, B]) == Served(4, {A: 2})


def test_no_lines_are_no_requests_and_no_complaint() -> None:
    assert count_served(b"", [A, B]) == Served(0, {})


def test_a_log_that_names_no_server_says_so() -> None:
    served = count_served(b'10.0.9.9 - - "GET /" 200\n', [A, B])
    assert served.by_address is None
    assert "`$upstream_addr` is not in the log_format" in (served.reason or "")


def test_socket_files_ipv6_and_default_ports_are_found() -> None:
    lines = b"u=unix:/run/b.sock\nu=[2001:db8::1]:8000\nu=10.0.0.1:80\n"
    addresses = ["unix:/run/b.sock", "[2001:DB8:0::1]:8000", "10.0.0.1"]
    by_address = {"unix:/run/b.sock": 1, "[2001:db8::1]:8000": 1, "10.0.0.1:80": 1}
    assert count_served(lines, addresses) == Served(3, by_address)


def test_several_hosts_are_added_up_and_one_that_cannot_tell_makes_it_unknown() -> None:
    assert total([Served(2, {A: 2}), Served(3, {A: 1, B: 2})]) == Served(5, {A: 3, B: 2})
    assert total([Served(2, {A: 2}), Served(3, None, "why")]) == Served(5, None, "why")
