# Two commands do all the set-up: `make demo` runs the main job on what ships, `make test` passes the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

OLDEST_PYTHON ?= python3.10

.PHONY: demo test lint large performance triton oldest licences clean
.DELETE_ON_ERROR:

demo: $(VENV)/all
	$(BIN)/plif demo --out demo

test: lint # two processes, whole files each: half the time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

large: $(VENV)/dev # the six networks of the paper at full size, minutes
	$(BIN)/python -m pytest -m large

performance: $(VENV)/dev # docs/performance.md and its figures, measured on this machine: about ten minutes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python bench/report.py

# A real Triton server for the tests that speak to one (they skip without): nvidia-pytriton brings the binary, and needs
# NumPy 1, so it has an environment of its own.
triton: .triton/ready

.triton/ready: pyproject.toml
	$(PYTHON) -m venv .triton
	.triton/bin/python -m pip install --quiet --disable-pip-version-check 'numpy<2' -e '.[cpu]'
	.triton/bin/python -m pip install --quiet --disable-pip-version-check --no-deps nvidia-pytriton==0.7.0
	touch $@

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "plif needs Python 3.10 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/all: $(BIN)/python pyproject.toml setup.py $(wildcard runtime/native/*.[ch])
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	touch $@

$(VENV)/dev: $(VENV)/all
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,dev]'
	@# Python interfaces of TensorRT 10.3 and 11, a MB each, to check our code against; a test says so where they are missing.
	-for wheel in tensorrt-cu12-bindings==10.3.0 tensorrt-cu13-bindings==11.4.0.106; do \
	    $(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps -d $(VENV)/bindings $$wheel; done
	touch $@

# The oldest versions that pyproject.toml allows, in an environment of their own: make oldest OLDEST_PYTHON=/path/to/python3.10
oldest:
	$(OLDEST_PYTHON) -m venv .oldest
	$(OLDEST_PYTHON) tests/oldest.py > .oldest/constraints.txt
	.oldest/bin/python -m pip install --quiet --disable-pip-version-check -c .oldest/constraints.txt -e '.[cpu,export,dashboard,nir]' pytest
	@# ONNX Runtime before 1.24 has no convolution of int8 counts, and a Python 3.10 gets 1.23 at most: the event engine runs those
	OMP_NUM_THREADS=1 .oldest/bin/python -m pytest tests/runtime tests/export -k "not int8 and not precision and not rounded"

licences: $(VENV)/all
	$(BIN)/python tests/licences.py

clean:
	rm -rf $(VENV) .triton .oldest demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache
