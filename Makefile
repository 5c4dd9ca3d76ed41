# Two commands do all the set-up: `make demo` runs the main job on what ships, `make test` passes the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

OLDEST_PYTHON ?= python3.10

.PHONY: demo quick test test-all machines lint types format fuzz performance release audit wheels debug site triton oldest oldest-runtime licences cortex-m web wasm clean
.DELETE_ON_ERROR:

NATIVE := $(addprefix runtime/native/,* */* */*/*)
LIBPLIF_C := $(filter-out runtime/native/examples/%,$(wildcard $(NATIVE:=.c)))
C_SOURCES := $(LIBPLIF_C) $(wildcard runtime/simulate/native/*.c plif_train/native/*.c)
C_FILES := $(C_SOURCES) $(wildcard $(NATIVE:=.h) plif_train/native/*.h runtime/native/examples/* plif_export/proof/*/*.c)

demo: $(VENV)/demo
	$(BIN)/plif demo --out demo

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist loadfile

quick: types # less than a minute: tests that need neither PyTorch nor another process, and a few of each command (tests/conftest.py)
	$(PYTEST) -n 2 --quick

test: lint # three processes, whole files each: some tests wait
	$(PYTEST) -n 3 --durations=25

test-all: lint # everything that this machine can run: full-size networks, every case of every matrix, soaks. Hours
	$(PYTEST) -n 4 --durations=25 -m "not gpu"

# What needs another processor, provider or Python: emulated, played by a stand-in, or skipped with a reason. `make oldest` takes
# 4 GB of an old PyTorch, and is asked for by itself.
machines: $(VENV)/dev
	$(PYTEST) -n 2 --durations=25 -m "machines and not large and not gpu"
	if $(OLDEST_PYTHON) -c '' 2>/dev/null; then $(MAKE) oldest-runtime; else echo 'no $(OLDEST_PYTHON) here: oldest-runtime not run'; fi

MINUTES ?= 60
fuzz: $(VENV)/dev # every fuzz target for MINUTES each; what it finds is kept and named
	$(BIN)/plif export models/nmnist-digits.pt -o .fuzz.onnx --no-verify && $(BIN)/python -m tests.fuzz.cards .fuzz.onnx --minutes $(MINUTES)
	$(BIN)/python -m tests.fuzz.native --minutes $(MINUTES)
	$(BIN)/python -m tests.fuzz.libfuzzer --minutes $(MINUTES)
	$(BIN)/python -m tests.fuzz.recordings --minutes $(MINUTES)
	for target in onnx torch engine nir; do $(BIN)/python -m tests.fuzz.models $$target --minutes $(MINUTES) || exit 1; done

performance: $(VENV)/dev # docs/performance.md and its figures, measured on this machine: about ten minutes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python bench/report.py

release: $(VENV)/all # libplif for C and C++ without Python: dist/libplif-VERSION-linux-PROCESSOR.tar.gz (docs/edge.md)
	$(BIN)/python docs/release.py --out dist

audit: $(VENV)/all # known vulnerabilities of what plif installs; fails, too, for what it could not look up: that is not audited
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --strict --skip-editable

wheels: $(VENV)/all # dist/: the sdist, and the wheel for this machine; for others see docs/install.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	$(BIN)/python -m build --outdir dist .

# A slow libplif for debuggers, which ends at the first mistake that the sanitizer sees. All sources of the folder are its own.
debug: # build/debug/libplif.so, and how plif is told to use it
	mkdir -p build/debug
	$(CC) -std=gnu11 -O0 -g -ffp-contract=off -Wno-psabi -pthread -fPIC -shared -fsanitize=undefined -fno-sanitize-recover=all -w \
	    $(LIBPLIF_C) -o build/debug/libplif.so -lm
	@echo export PLIF_LIBRARY='$(CURDIR)/build/debug/libplif.so'

site: $(VENV)/all # build/site: docs/ as a web site; a broken link or a page that no list names is an error
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/mkdocs build --quiet --strict

# A real Triton server for the tests that speak to one (they skip without): nvidia-pytriton brings the binary, and needs
# NumPy 1, so it has an environment of its own.
triton: .triton/ready

.triton/ready: pyproject.toml
	$(PYTHON) -m venv .triton
	.triton/bin/python -m pip install --quiet --disable-pip-version-check 'numpy<2' -e '.[cpu]'
	.triton/bin/python -m pip install --quiet --disable-pip-version-check --no-deps nvidia-pytriton==0.7.0
	touch $@

types: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lint: types
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)
	printf '%s\n' $(C_SOURCES) | xargs -P 2 -I {} $(BIN)/clang-tidy --quiet {} -- -std=gnu11 -Wno-psabi

format: $(VENV)/dev # Python and C
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "plif needs Python 3.10 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

SOURCES := pyproject.toml setup.py build_backend.py $(LIBPLIF_C) $(wildcard $(NATIVE:=.h))

$(VENV)/demo: $(BIN)/python $(SOURCES) # what the demo and the README's next commands need; PyTorch is compiled where it is imported
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[cpu,export,dashboard]'
	touch $@

$(VENV)/all: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	touch $@

$(VENV)/dev: $(VENV)/all
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,dev]'
	@# Python interfaces of TensorRT 10.3 and 11, a MB each, to check our code against; a test says so where they are missing.
	-for wheel in tensorrt-cu12-bindings==10.3.0 tensorrt-cu13-bindings==11.4.0.106; do \
	    $(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps -d $(VENV)/bindings $$wheel; done
	touch $@

OTHERS := $(addprefix --ignore=tests/export/test_,$(addsuffix .py,check_equals_export docs_other_libraries module_state read_loops read_module \
    read_spikingjelly))

# The oldest versions that pyproject.toml allows, in an environment of their own: make oldest OLDEST_PYTHON=/path/to/python3.10
oldest:
	$(OLDEST_PYTHON) -m venv .oldest
	$(OLDEST_PYTHON) tests/oldest.py > .oldest/constraints.txt
	.oldest/bin/python -m pip install --quiet --disable-pip-version-check -c .oldest/constraints.txt -e '.[cpu,export,dashboard,nir]' pytest
	@# files that need libraries of others, which ask for newer versions, are left out.
	@# ONNX Runtime before 1.24 has no convolution of int8 counts, and a Python 3.10 gets 1.23 at most: the event engine runs those
	OMP_NUM_THREADS=1 .oldest/bin/python -m pytest tests/runtime tests/export $(OTHERS) -k "not int8 and not precision and not rounded"

# Its runtime alone, without PyTorch: a download of 80 MB instead of 4 GB.
oldest-runtime: $(VENV)/all
	$(OLDEST_PYTHON) -m venv .oldest/runtime
	$(OLDEST_PYTHON) tests/oldest.py cpu > .oldest/runtime/constraints.txt
	.oldest/runtime/bin/python -m pip install --quiet --disable-pip-version-check -c .oldest/runtime/constraints.txt '.[cpu]'
	$(BIN)/plif export models/nmnist-digits.pt -o .oldest/runtime/digits.onnx
	cd .oldest/runtime && for engine in auto event onnxruntime; do \
	    bin/plif eval digits.onnx --data digits:50 --engine $$engine --out $$engine 2> $$engine.txt || { cat $$engine.txt; exit 1; }; done
	! grep 'not measured' .oldest/runtime/auto.txt

web: $(VENV)/all # build/web/index.html: the networks that ship, in a page that needs no server
	$(BIN)/python examples/web/build.py --out build/web

wasm: $(VENV)/all # plif_export/writers/web/page/libplif.wasm, which ships: after each change of libplif's sources (docs/wasm.py)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "$$($(BIN)/python -c 'import build_backend; print(build_backend.ZIGLANG)')"
	$(BIN)/python docs/wasm.py

cortex-m: # a network of `plif export --to c` on an emulated Cortex-M4F: make cortex-m NETWORK=/path/digits.c FRAMES=/path/frames.f32
	$(MAKE) -C examples/cortex-m OUT=$(CURDIR)/build/cortex-m NETWORK=$(NETWORK) FRAMES=$(FRAMES) run

licences: $(VENV)/all
	$(BIN)/python tests/licences.py

clean:
	rm -rf $(VENV) .triton .oldest demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache
