"""Whether two zones can be lost apart from each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drillctl.compare.isolation import HostFacts, violations

A = HostFacts("a-1", "zone-a", "11aa", "1111", "SHA256:aaa", "10.0.0.1", "rack-a")
B = HostFacts("b-1", "zone-b", "22bb", "2222", "SHA256:bbb", "10.0.0.2", "rack-b")


def test_zones_that_share_nothing_are_isolated():
    assert violations([A, B]) == ()


@pytest.mark.parametrize("fact", ["machine_id", "boot_id", "host_key", "address", "failure_domain"])
def test_each_shared_fact_is_a_violation(fact):
    (found,) = violations([A, replace(B, **{fact: getattr(A, fact)})])
    assert (found.hosts, found.fact) == (("a-1", "b-1"), fact)
    assert found.what.startswith(f"a-1 and b-1 have the same {fact.replace('_', ' ')}: ")


@pytest.mark.parametrize("fact", ["machine_id", "boot_id", "host_key"])
@pytest.mark.parametrize("unknown", [None, ""])
def test_fact_that_could_not_be_read_is_a_violation(fact, unknown):
    (found,) = violations([A, replace(B, **{fact: unknown})])
    assert found.what == f"the {fact.replace('_', ' ')} of b-1 is not known"
    (found,) = violations([replace(A, **{fact: unknown}), replace(B, **{fact: unknown})])
    assert found.what == f"the {fact.replace('_', ' ')} of a-1 and b-1 is not known"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "[2001:0DB8:0:0::1]"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("gpu-1.example.com", "GPU-1.example.com."),
    ],
)
def test_one_address_in_two_spellings_is_one_address(one, other):
    (found,) = violations([replace(A, address=one), replace(B, address=other)])
    assert found.fact == "address"


def test_failure_domains_differ_by_more_than_case_and_spaces():
    (found,) = violations([A, replace(B, failure_domain=" Rack-A ")])
    assert found.fact == "failure_domain"


def test_hosts_of_one_zone_may_share_their_failure_domain():
    assert (
        violations([A, replace(A, host="a-2", machine_id="33", boot_id="33", host_key="c", address="10.0.0.3"), B])
        == ()
    )


def test_every_pair_of_hosts_of_two_zones_is_looked_at():
    twin = replace(
        B, host="b-2", machine_id="33", boot_id="33", host_key="c", address="10.0.0.3", failure_domain="rack-a"
    )
    (found,) = violations([B, twin, A])
    assert found.hosts == ("b-2", "a-1")


def test_one_zone_alone_cannot_be_judged():
    with pytest.raises(ValueError, match="two zones"):
        violations([A])
