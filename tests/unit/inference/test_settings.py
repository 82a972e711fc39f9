from __future__ import annotations

import pytest

from inference.errors import SettingsError
from inference.settings import read_settings

MODEL = {"MODEL_PATH": "/srv/model"}


def test_defaults_name_the_main_service_on_loopback_with_one_thread() -> None:
    settings = read_settings(MODEL)
    assert (settings.service_name, settings.zone, settings.is_primary) == ("main", "main", True)
    assert (settings.host, settings.port, settings.top_k, settings.threads) == ("127.0.0.1", 8080, 5, 1)
    assert settings.model_sha256 is None
    assert settings.batch_size is None


def test_zone_follows_the_service_name_unless_given() -> None:
    assert read_settings({**MODEL, "SERVICE_NAME": "backup"}).zone == "backup"
    assert read_settings({**MODEL, "SERVICE_NAME": "backup", "ZONE": "east-2"}).zone == "east-2"


def test_empty_values_count_as_not_set_and_case_does_not_matter() -> None:
    settings = read_settings({**MODEL, "MODEL_SHA256": " ", "LOG_LEVEL": "INFO", "PORT": "", "DEVICE": "CPU"})
    assert (settings.model_sha256, settings.log_level, settings.port, settings.device) == (None, "info", 8080, "cpu")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SERVICE_NAME", "primary", "main, backup"),
        ("MODEL_SHA256", "abc", "64 hexadecimal digits"),
        ("DEVICE", "tpu", "auto, cpu, cuda"),
        ("PORT", "70000", "0 to 65535"),
        ("PORT", "-1", "0 to 65535"),
        ("TOP_K", "0", "1 to 1000"),
        ("TOP_K", "five", "1 to 1000"),
        ("THREADS", "0", "1 to 256"),
        ("BATCH_SIZE", "0", "1 to 1024"),
        ("QUEUE_SIZE", "1e3", "1 to 10000"),
        ("QUEUE_WAIT_MS", "0.5", "0 to 600000"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("ZONE", "a b", "letters, digits"),
        ("ZONE", "a\r\nSet-Cookie: x", "letters, digits"),
        ("NODE_NAME", "höst", "letters, digits"),
        ("DEFAULT_IMAGE_PATH", "/nowhere/cat.jpg", "not a file"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings({**MODEL, name: value})
    assert name in str(raised.value)
    assert said in str(raised.value)


def test_a_missing_model_path_is_refused_with_where_the_sample_is() -> None:
    with pytest.raises(SettingsError, match="inference/sample"):
        read_settings({})


SHA256 = "ab" * 32
FETCHED = {"MODEL_URI": "s3://bucket/model", "MODEL_SHA256": SHA256}


def test_a_model_from_a_uri_lies_in_the_cache_by_its_hash() -> None:
    settings = read_settings({**FETCHED, "MODEL_CACHE": "/var/cache/models"})
    assert str(settings.model_path) == f"/var/cache/models/{SHA256}"
    assert str(settings.model_uri) == "s3://bucket/model"
    assert read_settings(MODEL).model_uri is None


def test_the_cache_is_that_of_the_unit_or_of_the_user() -> None:
    unit = read_settings({**FETCHED, "CACHE_DIRECTORY": "/var/cache/inference"})
    assert str(unit.model_path) == f"/var/cache/inference/{SHA256}"
    user = read_settings({**FETCHED, "XDG_CACHE_HOME": "/home/jo/.cache"})
    assert str(user.model_path) == f"/home/jo/.cache/inference/{SHA256}"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MODEL_SHA256": ""}, "MODEL_URI needs MODEL_SHA256"),
        ({"MODEL_PATH": "/srv/model"}, "both set"),
        ({"MODEL_CACHE": "models"}, "absolute"),
        ({"MODEL_URI": "http://models.example"}, "https:"),
    ],
)
def test_a_uri_that_cannot_be_followed_is_refused(variables: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_settings({**FETCHED, **variables})
