"""Whether primary and standby are the same inside."""

from __future__ import annotations

import copy

from drillctl.compare.identity import NOT_PUBLISHED, compare_identity

PRIMARY = {
    "service": "main",
    "is_primary": True,
    "zone": "zone-a",
    "host": "a-1",
    "uptime_sec": 12.5,
    "device": "cuda:0",
    "model": {"path": "/srv/a/model", "sha256": "ab" * 32, "architecture": "resnest", "classes": 30},
    "versions": {"python": "3.11.7", "torch": "2.15.0", "uvicorn": "0.35"},
    "fingerprint": {
        "code": "cd" * 32,
        "labels": "01" * 32,
        "card": "23" * 32,
        "torch": "2.15.0",
        "cuda": None,
        "gpu": None,
        "driver": "570.1",
        "cpu_capability": "AVX512",
        "threads": 1,
        "batch_size": 8,
    },
}


def standby(**changes):
    info = copy.deepcopy(PRIMARY)
    info.update(service="backup", is_primary=False, zone="zone-b", host="b-1", uptime_sec=99.0)
    info["model"]["path"] = "/srv/b/model"
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = info
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return info


def test_names_places_and_uptime_may_differ():
    assert compare_identity(PRIMARY, standby()) == ()


def test_each_thing_that_decides_outputs_matters_and_says_why():
    for path, value in {
        "model__sha256": "ef" * 32,
        "fingerprint__code": "ef" * 32,
        "fingerprint__labels": "ef" * 32,
        "fingerprint__card": "ef" * 32,
        "fingerprint__torch": "2.14.0",
        "fingerprint__cuda": "13.0",
        "fingerprint__gpu": "NVIDIA H200",
        "fingerprint__cpu_capability": "AVX2",
        "fingerprint__threads": 2,
        "fingerprint__batch_size": 4,
        "device": "cpu",
    }.items():
        (found,) = compare_identity(PRIMARY, standby(**{path: value}))
        assert found.key == path.replace("__", ".")
        assert found.matters
        assert found.standby == str(value)
        assert found.why


def test_null_means_none_and_not_unknown():
    (found,) = compare_identity(PRIMARY, standby(fingerprint__gpu="NVIDIA H200"))
    assert (found.primary, found.matters) == ("none", True)


def test_driver_rarely_changes_outputs_and_does_not_matter():
    (found,) = compare_identity(PRIMARY, standby(fingerprint__driver="575.2"))
    assert (found.changes_outputs, found.matters) == ("rarely", False)


def test_what_versions_and_fingerprint_both_say_is_listed_once():
    (found,) = compare_identity(PRIMARY, standby(versions__torch="2.14.0", fingerprint__torch="2.14.0"))
    assert found.key == "fingerprint.torch"


def test_unheard_of_entry_of_the_fingerprint_matters():
    (found,) = compare_identity(PRIMARY, standby(fingerprint__winograd=True))
    assert found.changes_outputs == "unknown", "only one side publishes it"
    primary = standby(fingerprint__winograd=False)
    (found,) = compare_identity(primary, standby(fingerprint__winograd=True))
    assert found.matters


def test_unheard_of_entry_elsewhere_is_shown_and_does_not_matter():
    (found,) = compare_identity({**PRIMARY, "motd": "hi"}, {**standby(), "motd": "ho"})
    assert found.changes_outputs == "unknown"


def test_same_kind_of_device_in_another_slot_is_the_same():
    assert compare_identity(PRIMARY, standby(device="cuda:1")) == ()


def test_server_that_publishes_less_is_said_to_publish_less():
    (found,) = compare_identity(PRIMARY, standby(fingerprint__cpu_capability=...))
    assert (found.primary, found.standby, found.matters) == ("AVX512", NOT_PUBLISHED, False)
    assert found.why.startswith("only one zone publishes it; ")


def test_servers_that_publish_nothing_are_not_taken_for_equal():
    (found,) = compare_identity({}, {})
    assert (found.key, found.changes_outputs) == ("model.sha256", "unknown")


def test_model_that_is_not_loaded_anywhere_is_not_taken_for_equal():
    info = standby(model__sha256=None)
    (found,) = compare_identity(info, info)
    assert (found.key, found.primary, found.standby) == ("model.sha256", NOT_PUBLISHED, NOT_PUBLISHED)
    assert found.why.startswith("neither zone publishes it")


def test_what_can_change_outputs_comes_first():
    found = compare_identity(
        {**PRIMARY, "motd": "hi"}, {**standby(versions__python="3.13.1", fingerprint__threads=4), "motd": "ho"}
    )
    assert [difference.changes_outputs for difference in found] == ["yes", "unknown", "rarely"]
