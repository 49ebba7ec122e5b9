VENV ?= .venv
PYTHON ?= python3
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test hil

demo: $(VENV)/.installed
	$(VENV)/bin/edgekit build --target rpi4 --task "stop, yield, no entry" --latency-ms 1.0 -o out/ --overwrite
	$(VENV)/bin/edgekit predict out/ examples/stop.png examples/yield.png examples/no_entry.png

test: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --cov -m "not hil and not slow"

# On an emulated board, which stays up: edgekit lab down.
hil: $(VENV)/.installed-dev
	ci/lab/setup $(VENV)/bin/edgekit
	$(VENV)/bin/python -m pytest -m hil tests/hil tests/lab

# torch comes first: with nothing but the pinned version to look at, pip takes the build without CUDA where there is one.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	touch $@
