"""The test tree: which files it rewrites, and that nginx reads the candidate in the live file's place."""

from __future__ import annotations

import pytest

from drillctl.errors import GatewayError
from drillctl.gateway.nginx_staging import ReadFile, TestTree, build_tree, parse_dump

CANDIDATE = "/etc/nginx/conf.d/.drillctl-r/zone-b.candidate"
ROOT = ".drillctl-r.conf"


def tree(files: dict[str, str], live: str, links: dict[str, str] | None = None) -> TestTree:
    read = [ReadFile(path, text.encode("latin-1")) for path, text in files.items()]
    resolved = {path: (links or {}).get(path, path) for path in files}
    return build_tree(read, resolved, live=live, candidate=CANDIDATE, content=b"new", root=ROOT)


def test_a_dump_is_taken_apart_into_the_exact_bytes_of_each_file() -> None:
    files = {"/etc/nginx/nginx.conf": b"include x;\n", "/etc/nginx/x": b"no line end", "/etc/nginx/empty": b""}
    dump = b"".join(b"# configuration file " + path.encode() + b":\n" + text + b"\n" for path, text in files.items())
    assert {file.path: file.content for file in parse_dump(dump)} == files


def test_output_that_is_no_dump_has_no_files() -> None:
    assert parse_dump(b"nginx: test is successful\n") == ()
    assert parse_dump(b"") == ()


def test_a_glob_becomes_its_files_in_order_with_the_candidate_in_place() -> None:
    built = tree(
        {
            "/etc/nginx/nginx.conf": "http {\n  include conf.d/*.conf; # all\n}\n",
            "/etc/nginx/conf.d/b.conf": "",
            "/etc/nginx/conf.d/a.conf": "",
            "/etc/nginx/conf.d/c.conf": "",
        },
        live="/etc/nginx/conf.d/b.conf",
    )
    assert built.root == "/etc/nginx/.drillctl-r.conf"
    assert built.files[built.root].decode() == (
        'http {\n  include "/etc/nginx/conf.d/a.conf"; '
        f'include "{CANDIDATE}"; '
        'include "/etc/nginx/conf.d/c.conf"; # all\n}\n'
    )
    assert set(built.files) == {built.root}
    assert built.copy_of == {built.root: "/etc/nginx/nginx.conf"}
    assert set(built.expected) == {
        built.root,
        CANDIDATE,
        "/etc/nginx/conf.d/a.conf",
        "/etc/nginx/conf.d/c.conf",
    }


def test_files_between_main_and_live_are_copied_and_others_are_not() -> None:
    built = tree(
        {
            "/etc/nginx/nginx.conf": "include mime; http { include sites/*; }",
            "/etc/nginx/mime": "types {}",
            "/etc/nginx/sites/one": "include /etc/nginx/up.conf;\ninclude mime;",
            "/etc/nginx/up.conf": "upstream",
            "/etc/nginx/sites/two": "server {}",
        },
        live="/etc/nginx/up.conf",
    )
    copy = next(path for path in built.files if path.endswith("-one"))
    assert copy.startswith("/etc/nginx/conf.d/.drillctl-r/")
    assert built.files[copy].decode() == f'include "{CANDIDATE}";\ninclude mime;'
    assert built.copy_of[copy] == "/etc/nginx/sites/one"
    assert f'include "{copy}"; include "/etc/nginx/sites/two";' in built.files[built.root].decode()
    assert built.files[built.root].decode().startswith("include mime;")


def test_a_link_to_the_live_file_is_the_live_file() -> None:
    built = tree(
        {"/etc/nginx/nginx.conf": "include sites-enabled/*;", "/etc/nginx/sites-enabled/x": "u"},
        live="/etc/nginx/sites-available/x",
        links={"/etc/nginx/sites-enabled/x": "/etc/nginx/sites-available/x"},
    )
    assert built.files[built.root].decode() == f'include "{CANDIDATE}";'


def test_the_main_config_as_live_file_becomes_the_root() -> None:
    built = tree({"/etc/nginx/nginx.conf": "include x;", "/etc/nginx/x": ""}, live="/etc/nginx/nginx.conf")
    assert built.files == {"/etc/nginx/.drillctl-r.conf": b"new"}
    assert built.expected == ("/etc/nginx/.drillctl-r.conf", "/etc/nginx/x")


def test_a_glob_takes_neither_dot_files_nor_subfolders() -> None:
    built = tree(
        {
            "/etc/nginx/nginx.conf": "include d/*; include d/.hidden; include d/e/f;",
            "/etc/nginx/d/live": "",
            "/etc/nginx/d/.hidden": "",
            "/etc/nginx/d/e/f": "",
        },
        live="/etc/nginx/d/live",
    )
    assert built.files[built.root].decode() == f'include "{CANDIDATE}"; include d/.hidden; include d/e/f;'


def test_include_in_a_comment_or_string_is_not_followed_and_other_bytes_stay() -> None:
    main = "# include d/*;\nset $a \"include d/*;\"; include 'd/l[0-9]'; # \xe4\xb8\xad\r\n"
    built = tree({"/etc/nginx/nginx.conf": main, "/etc/nginx/d/l1": ""}, live="/etc/nginx/d/l1")
    assert built.files[built.root] == main.replace("include 'd/l[0-9]';", f'include "{CANDIDATE}";').encode("latin-1")


def test_names_with_wild_cards_and_quotes_are_taken_literally() -> None:
    built = tree(
        {"/etc/nginx/nginx.conf": "include d/*;", '/etc/nginx/d/a[1]"': "", "/etc/nginx/d/live": ""},
        live="/etc/nginx/d/live",
    )
    assert built.files[built.root].decode().startswith('include "/etc/nginx/d/a\\\\[1]\\"";')


def test_a_file_that_nginx_does_not_read_is_refused() -> None:
    with pytest.raises(GatewayError, match=r"nginx does not read /srv/x\.conf; it reads /etc/nginx/nginx\.conf"):
        tree({"/etc/nginx/nginx.conf": "http {}"}, live="/srv/x.conf")
