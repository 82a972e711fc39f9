from __future__ import annotations

import pytest

from inference.address import parse_address
from inference.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("file:///srv/models/a", "file:///srv/models/a"),
        ("file://localhost/srv/models/a/", "file:///srv/models/a"),
        ("file:///srv/m%20x", "file:///srv/m x"),
        ("https://models.example/a/b/", "https://models.example/a/b"),
        ("https://models.example:8443/a", "https://models.example:8443/a"),
        ("https://models.example/a/model.safetensors", "https://models.example/a"),
        ("s3://bucket/deep/folder", "s3://bucket/deep/folder"),
        ("s3://bucket", "s3://bucket"),
        ("oss://bucket/folder/", "oss://bucket/folder"),
    ],
)
def test_an_address_names_the_folder(text: str, shown: str) -> None:
    assert str(parse_address(text)) == shown


def test_secrets_are_kept_and_never_shown() -> None:
    address = parse_address("https://jo:s%40crt@models.example/a?token=t0ken")
    assert (address.user, address.password, address.query) == ("jo", "s@crt", "token=t0ken")
    assert "jo" not in str(address)
    assert not any(secret in f"{address} {address!r}" for secret in ("s@crt", "s%40crt", "t0ken"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/srv/model",
        "http://models.example/a",
        "ftp://models.example/a",
        "file://server/share",
        "file:relative",
        "https:///a",
        "https://host:port/a",
        "https://[::1/a",
        "s3:///folder",
        "s3://s3cr3t:s3cr3t@bucket/folder",
        "s3://bucket/folder?versionId=s3cr3t",
        "oss://s3cr3t@bucket/folder",
    ],
)
def test_what_cannot_be_fetched_from_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(SettingsError, match="MODEL_URI") as raised:
        parse_address(text)
    assert "s3cr3t" not in str(raised.value)
