# What `make help` does not list is not supported.
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v /usr/bin/python3 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
RUNTIME_PACKAGES := python3-venv libseccomp2
VM_PACKAGES := e2fsprogs mmdebstrap qemu-system-x86
TEST_PACKAGES := bsdutils busybox-static docker.io docker-registry fish git graphviz hostname iproute2 iptables mmdebstrap nftables podman procps runc \
	skopeo slirp4netns tmux uidmap util-linux zsh zstd
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup setup-test demo test unit integration e2e attack chaos conformance corpus check bench leaks vm clean

help: ## this list
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(VENV)/.setup ## system packages, .venv, .venv/bin/stackrun and .venv/bin/stackrun-runtime

$(VENV)/.setup: pyproject.toml tests/install-packages
	@tests/install-packages $(RUNTIME_PACKAGES)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable .
	@$(BIN)/python -m compileall -q stackrun  # pip compiles what it copies, and this it does not copy: a start would take twice as long
	@touch $@

setup-test: setup $(VENV)/.setup-test ## what the tests need besides (peers as oracles, linters)

$(VENV)/.setup-test: pyproject.toml tests/install-packages $(VENV)/.setup
	@tests/install-packages $(TEST_PACKAGES) $(VM_PACKAGES)
	@$(BIN)/pip install --quiet --disable-pip-version-check --group dev
	@touch $@

demo: setup ## bring examples/shop up, wait until it is ready, request it over HTTP
	@examples/shop/demo

test: setup-test check ## every test: checks, unit, conformance, integration, e2e, attack
	@$(BIN)/python -m pytest tests/unit tests/fuzz tests/conformance tests/integration tests/e2e tests/attack

unit: setup-test ## unit tests alone, no root
	@$(BIN)/python -m pytest tests/unit

integration: setup-test ## integration tests, as root
	@$(BIN)/python -m pytest tests/integration

conformance: setup-test ## one suite over every engine
	@$(BIN)/python -m pytest tests/conformance

e2e: setup-test ## whole scenarios, as a user runs them
	@$(BIN)/python -m pytest tests/e2e

attack: setup-test ## attempts to break out
	@$(BIN)/python -m pytest tests/attack

chaos: setup-test ## kill -9 at 200 random moments of up, change and down; CHAOS_POINTS=N, CHAOS_SEED=N
	@CHAOS_POINTS=$${CHAOS_POINTS:-200} $(BIN)/python -m pytest tests/e2e/test_chaos.py

corpus: setup-test ## config beside Docker Compose on real files: ../shared/compose-corpus, or CORPUS=directory
	@$(BIN)/python tests/corpus.py $(CORPUS)

check: setup-test ## ruff, mypy, import-linter
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > /dev/null || $(BIN)/lint-imports --no-cache

bench: setup-test ## side by side with Docker, Docker Compose, runc and crun
	@$(BIN)/python tests/bench/run.py

leaks: setup-test ## 300 containers at once, made and destroyed ten times: what is left of them
	@$(BIN)/python tests/bench/leaks.py

vm: setup-test ## the same core on pure cgroup v2: Debian's cloud kernel in qemu
	@$(BIN)/python tests/vm/run.py

clean: ## remove .venv and caches
	@rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache
