VENV ?= .venv
PYTHON ?= python3
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# As many workers as a small machine has cores, a thread each: threads of two workers on the same cores wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest

.PHONY: demo test coverage cluster hil release manual pages

demo: $(VENV)/.installed
	$(VENV)/bin/edgekit build --target rpi4 --task "stop, yield, no entry" --latency-ms 1.0 -o out/ --overwrite
	$(VENV)/bin/edgekit predict out/ examples/stop.png examples/yield.png examples/no_entry.png

test: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(PYTEST) -n 2 --dist worksteal -m "not hil and not slow"

# The manual as a site, in site/: docs/index.md.
manual: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# The same tests, twice as slow.
coverage: $(VENV)/.installed-dev
	$(PYTEST) -n 2 --dist worksteal -m "not hil and not slow" --cov

# Pages of the manual whose commands take minutes; that of training takes a quarter of an hour, and is for whoever changes it.
pages: $(VENV)/.installed-dev
	$(PYTEST) -n 2 --dist worksteal -m slow tests/manual -k "not training.md"

# A fleet on a Ray cluster of this machine.
cluster: $(VENV)/.installed-dev
	$(PYTEST) -m slow tests/pipeline/test_fleet_cluster.py

# On an emulated board, which stays up: edgekit lab down.
hil: $(VENV)/.installed-dev
	ci/lab/setup $(VENV)/bin/edgekit
	$(PYTEST) -m hil tests/hil tests/lab

# Wheel, sdist, list of parts and sums of what is committed, in dist/: docs/release.md.
release:
	ci/release/make

# torch comes first: with nothing but the pinned version to look at, pip takes the build without CUDA where there is one.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	touch $@
