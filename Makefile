# Commands for people, hooks and CI. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 3000
HOST ?= http://127.0.0.1:$(PORT)
RATE ?= 50
FOR ?= 60s
STAGE ?=
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Kept, whatever the environment says: without bytecode on disk every start of Python takes twice as long.
export PYTHONDONTWRITEBYTECODE :=
export BENTOML_DO_NOT_TRACK := True
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help venv localhost pipeline run bento restore test clients test-services container-test lint audit format loadtest demo monitoring stack bench bench-serving figures proto lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.installed ## make .venv from the lock file

$(VENV)/.installed: requirements/dev.txt requirements/uv.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found: install Python 3.11 or later" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "make: got $$($(PYTHON) --version), wanted Python 3.11 to 3.13: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

# bentoml serve binds to the name localhost; a bare root file system may have no /etc/hosts to find it in.
localhost:
	@$(PYTHON) -c 'import socket; socket.gethostbyname("localhost")' 2>/dev/null || \
	  { echo "make: the name localhost does not resolve; adding it to /etc/hosts"; \
	    echo "127.0.0.1 localhost" >>/etc/hosts; } || \
	  { echo "make: add the line '127.0.0.1 localhost' to /etc/hosts, as root" >&2; exit 1; }

pipeline: venv ## data -> features -> backtest -> model -> registry (dvc repro)
	dvc repro $(STAGE)

bento: pipeline ## import the champion into BentoML and build a versioned Bento
	python -m training import
	bentoml build $$(python -m training labels)

run: localhost bento ## from nothing to a forecast service on http://127.0.0.1:3000
	@echo "serving on http://127.0.0.1:$(PORT) (Ctrl-C ends it); API documentation: http://127.0.0.1:$(PORT)/docs"
	bentoml serve --host 127.0.0.1 --port $(PORT)

restore: localhost venv ## the service back from git, DVC's remote and MLflow's server, each file compared with its hash
	python -m deploy restore

clients: venv # environments for the client libraries in the tests; what cannot be had is skipped there, with a reason
	@python -m tests.clients.environments

test: localhost venv clients ## all tests that need neither root nor servers
	pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not services and not containers"

# Debian's packages for the tests of real servers and a real browser; installed if we may, else they are skipped with a reason.
SERVICES := postgresql chromium chromium-driver prometheus prometheus-alertmanager prometheus-pushgateway openssh-server curl
MISSING = $(shell for p in $(SERVICES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done)
test-services: localhost venv ## the tests that want a database server, a browser or Prometheus (as root they are installed: $(SERVICES))
	@[ "$$(id -u)" != 0 ] || [ -z "$(MISSING)" ] || { echo "make: installing $(MISSING)"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(MISSING) >/dev/null; }
	pytest -n 3 --dist loadfile -m services

# A command that puts python:3.11-slim into buildah's store, for machines that no registry of images can be reached from.
CONTAINER_BASE ?= buildah pull --quiet docker.io/library/python:3.11-slim
container-test: localhost venv ## build an image with buildah, run it with podman, ask it over HTTP and gRPC (root; buildah, podman, runc)
	@for tool in buildah podman runc; do command -v $$tool >/dev/null || \
	  { echo "make: $$tool not found: apt-get install buildah podman runc, as root" >&2; exit 1; }; done
	@buildah images -q docker.io/library/python:3.11-slim >/dev/null 2>&1 || $(CONTAINER_BASE)
	pytest -m containers

lint: venv ## ruff, mypy --strict, lock files
	ruff check .
	ruff format --check .
	mypy

audit: venv ## known vulnerabilities of what a Bento installs (needs the network)
	pip-audit --requirement requirements/serve.txt --require-hashes --disable-pip

format: venv ## put the code in its standard form
	ruff check --fix .
	ruff format .

loadtest: venv ## load on the running service: make loadtest RATE=50 FOR=60s HOST=http://127.0.0.1:3000
	locust --headless -u $(RATE) -r $(RATE) -t $(FOR) --host $(HOST)

demo: localhost bento ## rollouts under load: a good version is promoted, a slow, a failing and a nonsensical one are taken back
	python -m loadtests demo

monitoring: localhost venv ## Prometheus, alerts and the seven tests on this machine: watches the deployment, or what `make run` serves
	python -m monitoring up

stack: venv ## the whole stack by docker compose: router, service, MLflow, PostgreSQL, object store, Prometheus, Grafana
	python -m monitoring config --stack --out out/stack
	python -m monitoring dashboards --out out/stack/dashboards
	UID=$$(id -u) docker compose up --detach --build --wait
	UID=$$(id -u) docker compose up --detach --wait --force-recreate --no-deps prometheus alertmanager # files are mounted one by one: new ones come with new containers

bench: venv ## benchmarks, as ratios against peers in one run
	python -m tests.bench

bench-serving: localhost venv ## our service against BentoML as it comes, MLServer, mlflow and FastAPI (half an hour)
	python -m loadtests.serving

figures: venv ## accuracy, coverage and parity on a bike-sharing hour.csv: make figures TABLE=path/to/hour.csv
	python -m training figures $(TABLE)

proto: venv ## make the messages of gRPC anew from service/proto/*.proto
	python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. service/proto/*.proto

lock: venv ## resolve the dependencies anew into requirements/*.txt
	requirements/lock

clean: ## remove what the pipeline made (not .venv, not DVC's cache)
	rm -rf out .pytest_cache .ruff_cache .mypy_cache .hypothesis
