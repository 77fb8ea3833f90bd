# Needs CPython >= 3.11, make and git; everything else is installed into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# What is imported is compiled then, once: that needs bytecode to be written.
INSTALL := $(PIP) install --no-compile
unexport PYTHONDONTWRITEBYTECODE
SOURCES := contracts device_profiles edge_runtime converters cloud_gateway sdk
CODE := $(SOURCES) tests examples benchmarks
# Two files of tests at a time; ARGS='-n 0' runs them one after the other, as a debugger needs it.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help

.PHONY: help demo test test-full soak check bench coverage clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/demo  ## set up everything and run the demo
	$(BIN)/wherever demo

test: $(VENV)/test  ## the tests that need pip alone
	$(PYTEST) -m "not check and not full and not soak" $(ARGS)

test-full: $(VENV)/test $(VENV)/train/.ready  ## the tests that need apt packages, other environments, namespaces, or long
	WHEREVER_TRAIN_PYTHON=$(CURDIR)/$(VENV)/train/bin/python $(PYTEST) -m "full and not soak" $(ARGS)

soak: $(VENV)/test  ## long random runs; SOAK_SECONDS sets how long each one takes
	SOAK_SECONDS=$${SOAK_SECONDS:-600} $(BIN)/python -m pytest -m soak --timeout 0

check: $(VENV)/dev  ## lint, types, architecture, packaging
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/packaging -m 'not full'

bench: $(VENV)/test  ## measure, and write benchmarks/RESULTS.md
	ORT_DISABLE_TELEMETRY=1 $(BIN)/python benchmarks/run.py --write benchmarks/RESULTS.md

coverage: $(VENV)/test  ## the pure cores must be covered, every branch
	$(PYTEST) tests/unit -q --cov --cov-report= && $(BIN)/python -m coverage report \
	  --include='*/wherever/_routing/*.py,*/wherever_edge/host_health/*.py,*/wherever/_escalation/*.py,*/wherever/_records/layout.py,*/wherever/_records/record.py,*/wherever/_records/inputs.py,*/wherever/_replay/outcome.py,*/_whatif/aims.py,*/_whatif/asking.py,*/_whatif/endings.py,*/_whatif/evidence.py,*/_whatif/facts.py,*/_whatif/hosts.py,*/_whatif/outcome.py,*/_whatif/policy.py,*/_whatif/report.py,*/_whatif/virtual.py,*/_whatif/world.py,*/_outbox/age.py,*/_outbox/drain.py,*/_outbox/entry.py,*/wherever_contracts/releases.py,*/wherever_contracts/value_making.py,*/wire/classification.py,*/wire/rest_typed.py,*/wire/short_numbers.py,*/wire/streaming.py,*/rest/coding.py,*/rest/examples.py,*/rest/forms.py,*/rest/openapi.py,*/rest/protocol_paths.py,*/rest/schemas.py,*/wire/traceparent.py,*/watching/cells.py,*/watching/exposition.py,*/watching/statistics.py,*/wherever_devices/network.py,*/wherever_edge/packages/checks.py,*/wherever_edge/agreement.py,*/wherever_edge/opened.py,*/wherever_edge/certification/*.py,*/wherever_contracts/frames.py,*/wherever_contracts/plain.py,*/wherever_edge/transfer.py,*/bare/manifest.py,*/bare/heads.py,*/oip/bare_tensors.py,*/oip/transport.py,*/oip/listening.py,*/box/adverts.py,*/wherever_devices/decision.py,*/wherever_devices/conditions.py,*/wherever_devices/onednn.py,*/wherever_devices/plans.py,*/wherever_devices/profiles/*.py,*/wherever_devices/choice.py,*/wherever_devices/measured.py,*/wherever_devices/weighing.py,*/wherever_edge/eviction.py,*/isolation/supervision.py,*/queueing/bounds.py,*/queueing/costs.py,*/queueing/group.py,*/queueing/limit.py,*/queueing/line.py,*/queueing/policy.py,*/queueing/sharing.py,*/queueing/shares.py,*/tune/race.py,*/box/codes.py,*/box/sightings.py,*/wherever_contracts/certificate.py,*/wherever_gateway/config/account.py,*/wherever_gateway/config/amounts.py,*/wherever_gateway/config/changes.py,*/wherever_gateway/config/faults.py,*/wherever_gateway/config/lines.py,*/wherever_gateway/config/review.py,*/wherever_convert/limits.py,*/wherever_convert/trust.py,*/wherever_convert/promises.py,*/quantization/search.py,*/quantization/parts.py,*/proof/bootstrap.py,*/proof/rules.py,*/page/labels.py,*/page/markup.py,*/page/scales.py,*/wherever_gateway/tenants/digests.py,*/wherever_gateway/tenants/moving_window.py,*/wherever_gateway/tenants/rules.py,*/wherever_gateway/backends/absences.py,*/wherever_gateway/backends/attempts.py,*/wherever_gateway/backends/names.py,*/wherever_gateway/backends/order.py,*/wherever_gateway/backends/remembered.py,*/wherever_gateway/backends/room.py,*/wherever_gateway/backends/travel.py,*/wherever_gateway/backends/verdicts.py,*/wherever_gateway/backends/wording.py' \
	  --fail-under=100 --show-missing

clean:  ## remove everything that was made here
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "wherever needs Python 3.11 or newer; none was found. Set PYTHON=/path/to/python." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "wherever needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version)." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(INSTALL) --upgrade 'pip>=25.1'

# Stamps are newer than pyproject.toml when what it asks for is installed.
$(VENV)/demo: pyproject.toml | $(BIN)/python
	$(INSTALL) --editable '.[convert]'
	@touch $@

$(VENV)/test: pyproject.toml | $(BIN)/python
	$(INSTALL) --editable '.[all]' --group test
	@touch $@ $(VENV)/demo

$(VENV)/dev: pyproject.toml | $(BIN)/python
	$(INSTALL) --editable '.[all]' --group dev
	@touch $@ $(VENV)/test $(VENV)/demo

$(VENV)/train/.ready: examples/digits/requirements.txt tests/full/torch-requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m venv $(VENV)/train
	$(VENV)/train/bin/python -m pip --disable-pip-version-check --quiet install --no-compile -r examples/digits/requirements.txt -r tests/full/torch-requirements.txt --editable '.[convert,image]'
	@touch $@
