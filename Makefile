# The two commands that matter: `make drill` shows a drill on real hosts, `make test` runs every check.
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests drill test test-long lint crash-matrix soak clean
.PHONY: bench-failover bench-faults bench-reload bench-guards bench-inference bench-report bench-history bench-watch

help:  ## Show what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup:  ## Set up what is missing (the lab's packages, .venv)
	@sh setup/setup.sh

setup-tests:
	@sh setup/setup.sh tests

drill: setup  ## Bring up the lab and drill the loss of a zone
	@.venv/bin/drillctl run zone-failover --lab --yes

lint: setup  ## Style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

test: setup-tests lint  ## Style, types and all tests but the long ones
	.venv/bin/pytest

test-long: setup-tests  ## The tests that take minutes: more playbooks, faults and gateways on real hosts
	.venv/bin/pytest -m long

crash-matrix: setup  ## Kill drillctl everywhere, disturb all else, see that service comes back; POINTS=… for a part
	@.venv/bin/python -m tests.crash.matrix $(POINTS)

soak: setup  ## Fifty drills in a row: right verdicts, nothing grows
	@.venv/bin/python -m tests.crash.soak

bench-failover: setup  ## Measure the outage beside the runbook as a shell script
	@.venv/bin/python benchmarks/failover.py

bench-guards: setup  ## Measure what the guards cost the switch, in pairs
	@.venv/bin/python -m benchmarks.guards

bench-reload: setup-tests  ## Measure what kept connections lose when nginx reloads
	@.venv/bin/python -m benchmarks.reload

bench-faults: setup  ## Measure each fault by each kind of gateway
	@.venv/bin/python -m benchmarks.faults

bench-inference: setup  ## Measure the server beside an in-process loop, LitServe and Flask, and its start
	@.venv/bin/python -m benchmarks.inference
	@.venv/bin/python -m benchmarks.startup

bench-report: setup-tests  ## Measure the report of a run with 60,000 requests
	@.venv/bin/python -m benchmarks.report

bench-watch: setup-tests  ## Measure how much of a core a patrol of 20 hosts takes
	@.venv/bin/python -m benchmarks.watch

bench-history: setup-tests  ## Measure the history with 10,000 runs and 10 million samples
	@.venv/bin/python -m benchmarks.history --postgresql

clean:  ## Remove the lab, .venv and every cache
	@if [ -x .venv/bin/drillctl ]; then .venv/bin/drillctl lab down; fi
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
