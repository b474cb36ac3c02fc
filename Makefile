# Everything a newcomer needs: `make demo` and `make test` make .venv by themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: help demo observe test check format soak test-gpu proof proof-mutants bench bench-ledger test-cluster bench-cluster dashboards proto wheel clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: $(VENV)/.run ## bill a simulated GPU cluster; make demo ARGS="--once" stops after the tables
	$(BIN)/chargeback demo $(ARGS)

observe: $(VENV)/.run ## the demo with a Prometheus beside it that scrapes it and evaluates the alerts; says what to tell Grafana
	$(BIN)/chargeback demo --observe $(ARGS)

test: $(VENV)/.dev ## run the tests; make test ARGS="-k rating" picks some
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev ## lint, format, types, import law
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: $(VENV)/.dev ## kill, wedge and starve a real agent 200 times, 10 minutes; SOAK_SEED=… does it again
	SOAK_ROUNDS=$${SOAK_ROUNDS:-200} $(BIN)/python -m pytest -s tests/e2e/test_soak.py $(ARGS)

test-gpu: $(VENV)/.dev ## run the tests that need a real NVIDIA card
	$(BIN)/python -m pytest -m gpu $(ARGS)

bench-ledger: $(VENV)/.dev ## measure closing, reports and exports of big ledgers on PostgreSQL (about 20 minutes, 15 GB of disk)
	$(BIN)/python -m pytest -m bench tests/load $(ARGS)

proof: $(VENV)/.dev ## hold the bill against what really ran on a real node (about 20 minutes); ARGS="--seed 7 --only storm"
	$(BIN)/python -m tests.cluster.binaries
	$(BIN)/python -m tests.proof $(ARGS)

proof-mutants: $(VENV)/.dev ## break the product, a line at a time, and see replayed runs catch it (5 minutes); ARGS="rating" tries some
	$(BIN)/python -m tests.proof.replay.mutants $(ARGS)

bench: $(VENV)/.dev ## measure what the agent costs its node: CPU a beat, calls to the driver, memory (some minutes)
	$(BIN)/python -m pytest -m bench tests/bench $(ARGS)

test-cluster: $(VENV)/.dev ## build what tests need of Kubernetes (with Go, about 10 minutes; kept outside the checkout)
	$(BIN)/python -m tests.cluster.binaries

bench-cluster: $(VENV)/.dev ## measure the aggregator beside 1,000 simulated nodes (about 10 minutes); ARGS="--nodes 100"
	$(BIN)/python -m tests.cluster.binaries
	$(BIN)/python -m tests.cluster.bench_cluster $(ARGS)

dashboards: $(VENV)/.dev ## build the dashboards' JSON anew, and the rules as objects of the Prometheus operator
	$(BIN)/python -m dashboards.build
	$(BIN)/python -m dashboards.prometheus_rules

proto: $(VENV)/.dev ## generate the kubelet's messages anew
	$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=. exporter/podresources.proto

wheel: $(VENV)/.dev ## build dist/*.whl
	$(BIN)/python -m build --wheel --no-isolation

clean: ## take away what was built, the demo's data included
	rm -rf $(VENV) dist build demo-data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# What running needs, and what testing needs on top. Both are made anew when pyproject.toml changes.
$(VENV)/.run: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.run
