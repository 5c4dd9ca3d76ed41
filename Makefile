# Two commands do all the set-up: `make demo` runs the main job on what ships, `make test` runs the tests, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A Python 3.10, which is JetPack 6's and the oldest that plif runs on; empty where there is none
OLDEST_PYTHON ?= $(shell for python in python3.10 $$HOME/.pyenv/versions/3.10.*/bin/python3.10; do \
    $$python -c '' 2>/dev/null && echo $$python && break; done)

# The newest Python of this machine that can make environments
NEWEST_PYTHON ?= $(shell for minor in $$(seq 40 -1 10); do \
    for python in python3.$$minor $$HOME/.pyenv/versions/3.$$minor.*/bin/python; do \
    $$python -c 'import ctypes, ensurepip, ssl' 2>/dev/null && echo $$python && exit; done; done)

DIST ?= dist
IMAGE := cpu aedat4 dashboard# the extras of the Dockerfile
# make wheels release ARCH=aarch64: for that processor, and any Linux with glibc 2.28; zig compiles, and this machine's Python does the rest
ifdef ARCH
ZIG := $(CURDIR)/$(BIN)/python -m ziglang
CROSS := CC='$(ZIG) cc -target $(ARCH)-linux-gnu.2.28' AR='$(ZIG) ar' _PYTHON_HOST_PLATFORM=manylinux_2_28_$(ARCH) SETUPTOOLS_EXT_SUFFIX=.so
endif

.PHONY: demo quick test test-all costs machines newest lint types linters format fuzz performance release audit lock locked wheels debug site triton oldest jetson licences cortex-m web wasm clean
.DELETE_ON_ERROR:

NATIVE := $(addprefix runtime/native/,* */* */*/*)
LIBPLIF_C := $(filter-out runtime/native/examples/%,$(wildcard $(NATIVE:=.c)))
C_SOURCES := $(LIBPLIF_C) $(wildcard */*/*/native/*.c)
C_FILES := $(C_SOURCES) $(wildcard $(NATIVE:=.h) */*/*/native/*.h runtime/native/examples/* plif_export/core/proof/*/*.c)

demo: $(VENV)/demo
	$(BIN)/plif demo --out demo

# Each of a thousand processes would compile what it imports where the environment forbids to keep it
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist loadfile

quick: types # less than a minute: tests that need neither PyTorch nor another process, and a few of each command (tests/conftest.py)
	$(PYTEST) -n 2 --quick

test: $(VENV)/dev # slow cases only where what they test has changed since they passed here (tests/selection); ALL=1: all cases
	$(PYTEST) --no-loadscope-reorder -n 3 --slow $(if $(ALL),all,changed)

test-all: $(VENV)/dev # everything that this machine can run: full-size networks, every case of every matrix, soaks. Hours; SHARD=1/8: a part
	$(PYTEST) -n 2 --dist worksteal --durations=25 -m "not gpu" $(SHARD:%=--shard %)

costs: $(VENV)/dev # tests/costs.json: what each case costs, and what the slow ones open. An hour, with nothing else running here
	$(BIN)/python -m tests.selection.measure
	$(BIN)/python -m tests.selection.trace

# What needs another processor, provider or Python: emulated, played by a stand-in, or skipped with a reason; then all of make test
# with each of PYTHONS, ten minutes and an installation of 7 GB each: none of them in CI. `make oldest` is asked for by itself.
PYTHONS ?= $(NEWEST_PYTHON) $(OLDEST_PYTHON)
machines: $(VENV)/lint $(VENV)/zig
	@# what quantises networks, beside what is installed: their lists of versions do not fit ours
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .quantizers \
	    'brevitas==0.13.*' 'torchao==0.18.*' unfoldNd 'dependencies==2.0.1'
	@# 64-bit ARM is emulated where its tools are there or can be installed; the tests say what is missing
	@if [ "$$(id -u)" = 0 ] && command -v apt-get && ! { command -v qemu-aarch64 && command -v aarch64-linux-gnu-gcc; }; then apt-get update -qq && \
	    apt-get install -y -qq --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user; fi >/dev/null 2>&1 || true
	@# Mesa's lavapipe, Vulkan on the CPU: a GPU for the engine webgpu
	@if ls /usr/share/vulkan/icd.d/lvp_icd*.json >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    { apt-get update -qq && apt-get install -y -qq --no-install-recommends libvulkan1 mesa-vulkan-drivers; } >/dev/null 2>&1 \
	    || echo 'mesa-vulkan-drivers was not installed: tests of the engine webgpu skip'; \
	else echo 'no lavapipe here, and no root with apt-get: tests of the engine webgpu skip'; fi
	$(PYTEST) -n 2 --durations=25 -m "machines and not large and not gpu"
	$(if $(OLDEST_PYTHON),$(MAKE) jetson,@echo 'no Python 3.10 here (make jetson OLDEST_PYTHON=/path/to/python3.10): jetson not run')
	for python in $(PYTHONS); do .ci/elsewhere $$python test ALL=1 || exit 1; done

# PyTorch and everything else is installed for it: types are read of what is there, and some of the quick tests.plif_train.core and export
newest: # make quick with the newest Python and what the package index gives it, as on a machine unlike this one (.ci/elsewhere)
	.ci/elsewhere $(NEWEST_PYTHON) quick

MINUTES ?= 60
fuzz: $(VENV)/dev # every fuzz target for MINUTES each; what it finds is kept and named
	$(BIN)/python -m tests.fuzz.cards --minutes $(MINUTES)
	$(BIN)/python -m tests.fuzz.native --minutes $(MINUTES)
	$(BIN)/python -m tests.fuzz.libfuzzer --minutes $(MINUTES)
	$(BIN)/python -m tests.fuzz.recordings --minutes $(MINUTES)
	for target in onnx torch engine nir; do $(BIN)/python -m tests.fuzz.models $$target --minutes $(MINUTES) || exit 1; done

performance: $(VENV)/dev # docs/performance.md and its figures, measured on this machine: about ten minutes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python bench/report.py

release: $(VENV)/build $(if $(ARCH),$(VENV)/zig) # libplif for C and C++ without Python: dist/libplif-VERSION-linux-PROCESSOR.tar.gz (docs/edge.md)
	$(CROSS) $(BIN)/python docs/release.py --out $(DIST) $(ARCH:%=--processor %)

audit: $(VENV)/all # requirements/audit.json: known vulnerabilities of what is installed; fails, too, for what it could not look up
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/python docs/audit.py

wheels: $(VENV)/build $(if $(ARCH),$(VENV)/zig) # dist/: the sdist, and the wheel for this machine or for ARCH (docs/install.md)
	$(CROSS) $(BIN)/python -m build --no-isolation --outdir $(DIST) .

# A slow libplif for debuggers, which ends at the first mistake that the sanitizer sees. All sources of the folder are its own.
debug: # build/debug/libplif.so, and how plif is told to use it
	mkdir -p build/debug
	$(CC) -std=gnu11 -O0 -g -ffp-contract=off -Wno-psabi -pthread -fPIC -shared -fsanitize=undefined -fno-sanitize-recover=all -w \
	    $(LIBPLIF_C) -o build/debug/libplif.so -lm
	@echo export PLIF_LIBRARY='$(CURDIR)/build/debug/libplif.so'

site: web # build/site: docs/ as a web site, with the demo; a broken link or a page that no list names is an error
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/mkdocs build --strict

# A real Triton server for the tests that speak to one (they skip without): nvidia-pytriton brings the binary, and needs
# NumPy 1, so it has an environment of its own.
triton: .triton/ready

.triton/ready: pyproject.toml
	$(PYTHON) -m venv .triton
	.triton/bin/python -m pip install --quiet --disable-pip-version-check 'numpy<2' -e '.[cpu]'
	.triton/bin/python -m pip install --quiet --disable-pip-version-check --no-deps nvidia-pytriton==0.7.0
	touch $@

types: $(VENV)/lint # read as the Python that runs it: types of NumPy 2.5 are written for 3.12 and later
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lint: types
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)
	printf '%s\n' $(C_SOURCES) | xargs -P 2 -I {} $(BIN)/clang-tidy --quiet {} -- -std=gnu11 -Wno-psabi

linters: $(VENV)/lint # .ci/lint.txt names the newest versions from now on; make lint says what they find
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade $$(sed 's/==.*//' .ci/lint.txt)
	$(BIN)/python -m pip freeze | grep $$(sed 's/\(.*==\).*/-e ^\1/' .ci/lint.txt) > $(VENV)/lint.txt
	mv $(VENV)/lint.txt .ci/lint.txt

# Exact versions with their hashes, for every Python from 3.11 on (build.txt: 3.10) and every platform; unlocked.txt says what is not in them
UV := $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-annotate --custom-compile-command 'make lock'
lock: $(VENV)/all # requirements/*.txt name the newest versions from now on, and requirements/sbom.json what pyproject.toml requires
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9.8' 'cyclonedx-bom>=7'
	$(UV) --python-version 3.11 --extra all --extra dev --excludes requirements/unlocked.txt --no-emit-package plif \
	    pyproject.toml requirements/ci.in -o requirements/ci.txt
	$(UV) --python-version 3.11 -c requirements/ci.txt $(IMAGE:%=--extra %) pyproject.toml -o requirements/image.txt
	$(UV) --python-version 3.10 -c requirements/ci.txt requirements/build.in -o requirements/build.txt
	$(UV) --python-version 3.11 -c requirements/ci.txt requirements/sources.in -o requirements/sources.txt
	$(BIN)/python docs/sbom.py

# What CI does first: all that `make test` and a release need, each package with its hash, and PyTorch by its range
locked: $(BIN)/python
	for file in build sources ci; do $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --require-hashes \
	    -r requirements/$$file.txt || exit 1; done
	$(BIN)/python -m pip uninstall --quiet --disable-pip-version-check --yes setuptools-scm vcs-versioning # they would put every file of git into our wheel
	PIP_NO_BUILD_ISOLATION=0 $(MAKE) $(VENV)/dev # 0 is how pip spells it
	$(BIN)/python -m pip check

format: $(VENV)/lint # Python and C
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "plif needs Python 3.10 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

SOURCES := pyproject.toml setup.py build_backend.py build_sbom.py $(LIBPLIF_C) $(wildcard $(NATIVE:=.h))

$(VENV)/demo: $(BIN)/python $(SOURCES) # what the demo and the README's next commands need; PyTorch is compiled where it is imported
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[cpu,export,dashboard]'
	touch $@

$(VENV)/all: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	touch $@

$(VENV)/dev: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,dev]'
	@# Python interfaces of TensorRT 10.3 and 11, a MB each, to check our code against, and axe-core (MPL-2.0), to check our pages
	@for wheel in tensorrt-cu12-bindings==10.3.0 tensorrt-cu13-bindings==11.4.0.106 axe-playwright-python==0.1.8; do \
	    $(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps -d $(VENV)/bindings $$wheel 2>/dev/null || \
	    echo "pip finds no $$wheel for this Python: the tests that need it skip"; done
	touch $(VENV)/all $@

$(VENV)/lint: $(VENV)/dev .ci/lint.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r .ci/lint.txt
	touch $@

$(VENV)/build: $(VENV)/all requirements/build.txt # a setuptools of the same bytes everywhere
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	touch $@

$(VENV)/zig: $(VENV)/all build_backend.py # a C compiler for every processor
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "$$($(BIN)/python -c 'import build_backend; print(build_backend.ZIGLANG)')"
	touch $@

# The oldest versions that pyproject.toml allows, in an environment of their own: make oldest OLDEST_PYTHON=/path/to/python3.10
oldest:
	$(OLDEST_PYTHON) -m venv .oldest
	$(OLDEST_PYTHON) tests/oldest.py > .oldest/constraints.txt
	.oldest/bin/python -m pip install --quiet --disable-pip-version-check -c .oldest/constraints.txt -e '.[cpu,export,dashboard,nir]' pytest
	OMP_NUM_THREADS=1 .oldest/bin/python -m pytest -p tests.oldest tests/runtime tests/plif_export/core

# As on a Jetson with JetPack 6: Python 3.10, whose last ONNX Runtime is 1.23. The runtime in its oldest versions, then beside 1.23;
# and the gate of every precision in that ONNX Runtime, from this environment, since a PyTorch for Python 3.10 is 4 GB (make oldest).
PRECISIONS := fp32 fp16 int8 int4
jetson: $(VENV)/all
	$(OLDEST_PYTHON) -m venv --clear .jetson
	$(OLDEST_PYTHON) tests/oldest.py cpu > .jetson/constraints.txt
	.jetson/bin/python -m pip install --quiet --disable-pip-version-check -c .jetson/constraints.txt '.[cpu]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .jetson/gate 'onnxruntime==1.23.*'
	for precision in $(PRECISIONS); do \
	    PYTHONPATH=.jetson/gate $(BIN)/plif export models/nmnist-digits.pt --precision $$precision -o .jetson/$$precision.onnx || exit 1; done
	for target in plif c; do \
	    PYTHONPATH=.jetson/gate $(BIN)/plif export models/nmnist-digits.pt --precision int8 --to $$target -o .jetson/int8.$$target || exit 1; done
	@# in 4 bits a report's rates need ONNX Runtime 1.23
	cd .jetson && for precision in $(filter-out int4,$(PRECISIONS)); do for engine in auto onnxruntime; do \
	    bin/plif eval $$precision.onnx --data digits:50 --engine $$engine --confined on --out $$engine 2>> said || { cat said; exit 1; }; done; done
	! grep 'not measured' .jetson/said
	.jetson/bin/python -m pip install --quiet --disable-pip-version-check 'onnxruntime==1.23.*'
	cd .jetson && for precision in $(PRECISIONS); do bin/plif stream $$precision.onnx 'sim:digits?seed=7&seconds=1' && \
	    bin/plif eval $$precision.onnx --data digits:50 --engine onnxruntime --confined on --min-accuracy 0.9 || exit 1; done

web: $(VENV)/all # build/web/index.html: the networks that ship, in a page that needs no server
	$(BIN)/python examples/web/build.py --out build/web

wasm: $(VENV)/zig # plif_export/targets/web_page/page/libplif.wasm, which ships: after each change of libplif's sources (docs/wasm.py)
	$(BIN)/python docs/wasm.py

cortex-m: # a network of `plif export --to c` on an emulated Cortex-M4F: make cortex-m NETWORK=/path/digits.c FRAMES=/path/frames.f32
	$(MAKE) -C examples/cortex-m OUT=$(CURDIR)/build/cortex-m NETWORK=$(NETWORK) FRAMES=$(FRAMES) run

licences: $(VENV)/all
	$(BIN)/python tests/licences.py

clean:
	rm -rf $(VENV) .triton .oldest .jetson demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache
