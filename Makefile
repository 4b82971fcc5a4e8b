# make demo        fine-tune a small network on synthetic people and compare before and after (four to six minutes, two cores)
# make search      search drawn people for the one in a partial picture, by the network of make demo: list and page
# make serve       a page on this machine that searches the drawn people, by the network of make demo
# make check       for every save: lint, types and the quick tests (those that are not marked slow)
# make test        lint, types, all tests and the documentation's examples
# make test-peers  the comparisons with torch, spams, celer, skglm and onnxruntime, and shards in Ray, run live
# make setup       only the set-up that each of the others does by itself: .venv with the versions of constraints.txt
# make lint        only formatting, lint and types
# make clean       remove caches; make distclean removes .venv too
#
# PYTHON=python3.12      another interpreter for .venv (3.11 or later)
# CONSTRAINTS=/dev/null  the newest packages in the ranges of setup.cfg, instead of the versions of constraints.txt
# PIP_ARGS=...           more arguments for every pip install
# TORCH_INDEX=URL        where test-peers takes torch from. On Linux the default package is the CUDA build, of several
#                        gigabytes; pytorch.org/get-started names an index of CPU builds (200 MB), which is enough.
# PYTEST_ARGS=...        more arguments for pytest, such as -k weights, or -n 0 for a single process of tests instead of two

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help demo search serve check test tests-alone test-peers setup lint clean distclean

VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS ?= constraints.txt
PIP_INSTALL := $(BIN)/python -m pip install --quiet --use-pep517 --constraint $(CONSTRAINTS)
PIP_ARGS ?=
TORCH_INDEX ?=
PYTEST_ARGS ?=
# Tests rewrite and check what they import, which takes each process 15 seconds where the result is not kept.
unexport PYTHONDONTWRITEBYTECODE
# Most of the time of the tests goes into compiling programs that run once: without LLVM's optimisation it is two fifths
# less, without XLA's own emitters of fused loops another quarter. The peers' tests, and pytest called by hand, optimise
# as a user's program does; so does XLA_FLAGS= make test. Flags that the installed XLA does not know are left out.
QUICKLY := --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1
RUN_TESTS := $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder
PYTEST := XLA_FLAGS="$${XLA_FLAGS-$$($(BIN)/python -m tests.xla_flags $(QUICKLY))}" $(RUN_TESTS)
REQUIREMENTS := setup.cfg pyproject.toml constraints.txt

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

demo: $(VENV)/.demo
	$(BIN)/python -m experiments.finetune --flagfile=experiments/flags/demo.flags

search: $(VENV)/.demo
	@test -e runs/demo/metrics.json || $(MAKE) demo
	$(BIN)/python -m data.draw --out=runs/search
	$(BIN)/python -m experiments.search --flagfile=experiments/flags/search.flags

serve: $(VENV)/.demo
	@test -e runs/demo/metrics.json || $(MAKE) demo
	$(BIN)/python -m data.draw --out=runs/search
	$(BIN)/python -m experiments.serve --flagfile=experiments/flags/serve.flags

check: lint
	$(PYTEST) -m 'not slow' $(PYTEST_ARGS)

# One after the other; `make -j2 test` runs both at once.
test: lint tests-alone

tests-alone: $(VENV)/.test
	$(PYTEST) $(PYTEST_ARGS)

test-peers: $(VENV)/.peers
	$(RUN_TESTS) tests/peers $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(VENV)/.test

# Each extra has a stamp, so that pip runs only when a requirement changed.
$(VENV)/.demo: $(REQUIREMENTS) | $(BIN)/python
	$(PIP_INSTALL) --editable '.[all]' $(PIP_ARGS)
	@touch $@

$(VENV)/.test: $(REQUIREMENTS) | $(BIN)/python
	$(PIP_INSTALL) --editable '.[test]' $(PIP_ARGS)
	@touch $@ $(VENV)/.demo

$(VENV)/.peers: $(REQUIREMENTS) | $(BIN)/python
	$(PIP_INSTALL) --editable '.[test,peers]' $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(PIP_ARGS)
	@touch $@ $(VENV)/.test $(VENV)/.demo

# The first interpreter that is new enough and can make virtual environments.
$(BIN)/python:
	@python=""; \
	for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
	    if $$candidate -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then \
	    echo "No Python >= 3.11 with venv found (tried: $(PYTHON) python3.11 python3.12 python3.13 python3 python)." >&2; \
	    echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python" >&2; \
	    exit 1; fi; \
	echo "making $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

clean:
	rm -rf .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
