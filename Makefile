# make demo   separate the bundled song and show where the results are
# make test   run the tests
# make lint   ruff and mypy
# make docs   build the documentation site in build/site
# make web    build the pages' scripts and styles anew from web/ (needs Node)
#
# Each makes what it needs in .venv first, and nothing twice. Variables:
#   PYTHON   the interpreter to build .venv with (3.10 or newer)
#   DEMO     the folder for the demo's results
#   WORKERS  processes that run tests side by side
#   TORCH    what to install where .venv has no torch yet; name a CPU-only build for a smaller one

PYTHON ?= python3
TORCH ?= torch==2.13.0
DEMO ?= demo
WORKERS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# what tests compare with, without what it brings: torchaudio another torch, musdb an ffmpeg binary
REFERENCES := openunmix==1.3.0 museval==0.4.1
LINTERS := "ruff>=0.6" "mypy>=1.11" types-PyYAML scipy-stubs pandas-stubs

.PHONY: demo test lint docs web clean
.DELETE_ON_ERROR:

demo: $(VENV)/.stemwise
	$(BIN)/stemwise demo $(DEMO)

test: $(VENV)/.test $(VENV)/.browser
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --max-worker-restart 0 \
	  $(PYTEST_ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/mypy

docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

web:
	cd web && npm ci --no-audit --no-fund && npm run check && npm run build

clean:
	rm -rf $(VENV) build dist $(DEMO)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "stemwise needs Python 3.10 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module is missing (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@touch $@

$(VENV)/.torch: $(VENV)/.python
	@echo "installing torch (once)"
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) install $(TORCH)
	@touch $@

$(VENV)/.stemwise: $(VENV)/.torch pyproject.toml
	@echo "installing stemwise"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	@echo "installing stemwise and what its tests need"
	@$(PIP) install --editable '.[test]'
	@$(PIP) install --no-deps $(REFERENCES)
	@touch $@ $(VENV)/.stemwise

# tests open the pages in Chromium; who may not install it here runs all others
$(VENV)/.browser: $(VENV)/.python
	@if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "installing chromium"; apt-get -qq update; \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install chromium >/dev/null; \
	fi
	@if command -v chromium >/dev/null; then touch $@; \
	  else echo "no chromium here: tests of the pages will be skipped" >&2; fi

$(VENV)/.lint: $(VENV)/.test
	@echo "installing ruff and mypy"
	@$(PIP) install $(LINTERS)
	@touch $@
