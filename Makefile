# CommandCenter: everything a newcomer or a pipeline needs, on a machine with only Python 3.11, git and make.
# `make` alone lists the targets. See README.md for the environment variables.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first Python 3.11 on the machine; where COMMANDCENTER_PYTHON names one, that one or none.
FIND_PYTHON := set -- "$$COMMANDCENTER_PYTHON"; [ -n "$$1" ] || set -- python3.11 python3 python; for c; do \
	"$$c" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo "$$c" && exit; done; true
PYTHON = $(shell $(FIND_PYTHON))
PY := .venv/bin/python
CASE ?=
TESTS ?= tests/unit tests/contract tests/integration tests/acceptance tests/faults
WORKERS ?= 2

.PHONY: help runtime dev start stop status logs demo test check bench faults prometheus test-time test-api audit-verify \
	dead-letters lock up down

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

runtime:
	@[ -n "$(PYTHON)" ] || { echo "CommandCenter needs Python 3.11, which was not found: install it, or name it with COMMANDCENTER_PYTHON=/path/to/python3.11." >&2; exit 1; }
	@"$(PYTHON)" deploy/local/bootstrap.py runtime

dev:
	@[ -n "$(PYTHON)" ] || { echo "CommandCenter needs Python 3.11, which was not found: install it, or name it with COMMANDCENTER_PYTHON=/path/to/python3.11." >&2; exit 1; }
	@"$(PYTHON)" deploy/local/bootstrap.py dev

start: runtime ## start Kafka, PostgreSQL and the four services; returns when all are ready
	@$(PY) -m deploy.local start

stop: runtime ## stop everything that start started
	@$(PY) -m deploy.local stop

status: runtime ## what runs, since when, on which port
	@$(PY) -m deploy.local status

logs: runtime ## follow all logs; SERVICE=api for one, FOLLOW=0 for all there is, to grep
	@$(PY) -m deploy.local logs

demo: runtime ## start if needed, analyse this repository by a schedule, show the result
	@$(PY) -m deploy.local.demo

test: dev ## all tests but the long fault tests
	@$(PY) -m pytest -n $(WORKERS) --dist loadgroup -m "not slow and not alone" $(wildcard $(TESTS))
	@$(PY) -m pytest -m "alone and not slow" $(wildcard $(TESTS)) || [ $$? -eq 5 ]

prometheus: dev ## bring promtool and Prometheus for the tests of alerts and boards
	@$(PY) -m tools.prometheus

test-time: dev ## the tests of recurrence and time, at length
	@$(PY) -m pytest -n $(WORKERS) tests/unit/time
	@$(PY) -m tests.unit.time.differential

test-api: dev ## thousands of generated requests against the API (schemathesis), at length
	@$(PY) -m pytest -m slow tests/contract/api

faults: dev ## kill, stop and cut everything in turn, at length
	@$(PY) -m pytest -m "slow or not slow" tests/faults

check: dev ## format, lint, types, imports, drift
	@$(PY) -m tools.check

bench: dev ## every benchmark, or CASE=name; writes bench/<case>.json into the home
	@$(PY) -m benchmarks $(CASE)

audit-verify: runtime ## prove that the audit log was not altered
	@$(PY) -m services.health.audit_verify

dead-letters: runtime ## what nobody could read or finish; SHOW=p:o for one, RESEND=p:o to send it again
	@$(PY) -m services.worker.dead $(if $(RESEND),resend $(RESEND),$(if $(SHOW),show $(SHOW),list))

lock: dev ## resolve all versions anew and pin them by hash
	@$(PY) -m tools.lock

up: ## the same system with Docker
	@docker compose version >/dev/null 2>&1 || { echo "make up needs Docker with its compose plugin; make start runs the same system without Docker." >&2; exit 1; }
	@umask 077; random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }; \
		for name in COMMANDCENTER_ADMIN_KEY COMMANDCENTER_POSTGRES_OWNER_PASSWORD; do \
		grep -qs "^$$name=." .env || printf '\n%s=%s\n' "$$name" "$$(random)" >>.env; done; chmod 600 .env
	docker compose up --detach --build --wait
	@echo 'Ready. Its first key is in .env: . ./.env; curl -H "Authorization: Bearer $$COMMANDCENTER_ADMIN_KEY" ...'

down: ## stop what up started; its data is kept
	COMMANDCENTER_ADMIN_KEY=unused COMMANDCENTER_POSTGRES_OWNER_PASSWORD=unused docker compose down
