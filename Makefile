# `make demo` runs the main job, `make test` the tests. Both set up .venv first; both work on a fresh machine
# with Python 3.11 (or newer), a C compiler and a package index.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Another package index for the installation, for example one with PyTorch for CPUs: make install TORCH_INDEX=URL
TORCH_INDEX ?=
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# The lock file that `make lock` writes, more extras for it, and its PyTorch: empty is that of PyPI, `cpu` that of
# PyTorch's own index.
LOCK ?= requirements/lock.txt
EXTRAS ?=
TORCH_BACKEND ?=

# Worker processes with one thread each. More than 8 spend their time on importing PyTorch.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

.PHONY: install lock browser demo scenes-tiny test test-slow test-gpu test-random trials lint types clean

install: $(INSTALLED)

# Detectron2's wheel is tagged for another Python version, because of a compiled part that is not used. So it is
# unpacked by force, pinned by hash, and its own requirements come from pyproject.toml.
$(INSTALLED): pyproject.toml requirements/torch.txt requirements/detectron2.txt requirements/label_studio_sdk.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(INDEX) -r requirements/torch.txt
	$(BIN)/python -m pip install $(INDEX) -e '.[headless,dev,detectron2-dependencies]'
	$(BIN)/python -m pip install --require-hashes --no-deps --upgrade --only-binary=:all: \
	    --python-version 3.10 --implementation cp --abi none --platform any \
	    --target "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	    -r requirements/detectron2.txt
	$(BIN)/python -m pip install --require-hashes --no-deps -r requirements/label_studio_sdk.txt
	touch $@

# Lock files with hashes, for Python 3.11 on Linux (x86-64). What is locked already keeps its version; to take newer
# ones, delete the files before.
UV_COMPILE = $(BIN)/uv pip compile --no-config --quiet --generate-hashes --custom-compile-command 'make lock' \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28
lock: $(INSTALLED)
	$(UV_COMPILE) $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) --output-file $(LOCK) \
	    $(if $(filter-out requirements/lock.txt,$(LOCK)),--constraints requirements/lock.txt) \
	    $(foreach extra,headless detectron2-dependencies parquet $(EXTRAS),--extra $(extra)) \
	    pyproject.toml requirements/torch.txt
	echo setuptools | $(UV_COMPILE) --no-annotate --constraints $(LOCK) --output-file requirements/lock-build.txt -

# For the tests that open reports; they are skipped where there is no Chromium.
browser:
	.ci/browser

demo: $(INSTALLED)
	$(BIN)/reldn demo --output output/demo

# The model of the drawn scenes that the wheel holds: trains it, and packs it into reldn_d2/model_zoo/weights.
scenes-tiny: $(INSTALLED)
	$(BIN)/python tools/make_scenes_tiny.py --output output/scenes_tiny

test: $(INSTALLED)
	$(PYTEST)

# The long tests, which `test` leaves out.
test-slow: $(INSTALLED)
	$(PYTEST) -m slow

# The tests that need a GPU; without one they are skipped, each with the reason.
test-gpu: $(INSTALLED)
	$(BIN)/python -m pytest -m gpu -rs tests/gpu

# The property tests alone, with examples that no run has seen before.
test-random: $(INSTALLED)
	RELDN_D2_HYPOTHESIS=random $(PYTEST) -m hypothesis

# Trainings whose figures the documentation gives, one after the other: the demo takes about 7 minutes on two cores.
trials: $(INSTALLED)
	$(BIN)/python -m pytest -m trial

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) output build *.egg-info
