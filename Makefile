# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers

.PHONY: demo check fix test bench bench-data bench-peers bench-training docs clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed  ## train, evaluate and predict on embedded pictures, offline
	$(BIN)/saccade demo

check: $(VENV)/.installed  ## lint, format, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

fix: $(VENV)/.installed  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(VENV)/.installed  ## all tests
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

bench: $(VENV)/.installed  ## measured comparisons; prints ratios
	$(BIN)/python benchmarks/first_thread.py

$(PEERS)/.installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

bench-peers: $(VENV)/.installed $(PEERS)/.installed  ## transfer learning beside Keras and plain PyTorch; prints ratios
	$(BIN)/python benchmarks/transfer.py --peers-python $(PEERS)/bin/python

bench-training: $(VENV)/.installed $(PEERS)/.installed  ## training steps beside Keras and plain PyTorch; prints ratios
	$(BIN)/python benchmarks/training.py --peers-python $(PEERS)/bin/python

bench-data: $(VENV)/.installed $(PEERS)/.installed  ## decoding and augmenting beside torchvision, kornia, Keras
	$(BIN)/python benchmarks/data.py --peers-python $(PEERS)/bin/python

docs: $(VENV)/.installed  ## check that every link and command in the docs exists
	$(BIN)/python -m pytest -q tests/test_readme.py

clean:  ## remove what make made
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache
