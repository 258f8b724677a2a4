# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
PHOTOGRAPHS ?= ../shared/data/cats_and_dogs_small.zip

.PHONY: demo check fix test bench bench-compare bench-data bench-peers bench-predict bench-scale bench-serve bench-sprint \
	bench-training docs clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV), once: some minutes without a word, and about 6 GB, most of it torch"
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

bench: $(VENV)/.installed  ## cnn1 on MNIST beside the loop of the tutorials; prints ratios, as all bench-... do
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

bench-predict: $(VENV)/.installed $(PEERS)/.installed  ## a folder to a csv beside Keras and plain PyTorch (PHOTOGRAPHS=a zip)
	$(BIN)/python benchmarks/predict.py $(PHOTOGRAPHS) --peers-python $(PEERS)/bin/python

bench-serve: $(VENV)/.installed  ## the server under load beside the batch predictor; prints ratios and latencies
	$(BIN)/python benchmarks/serve.py

bench-sprint: $(VENV)/.installed $(PEERS)/.installed  ## time to accuracy on CIFAR-10 beside Keras
	$(BIN)/python benchmarks/sprint.py --peers-python $(PEERS)/bin/python

bench-compare: $(VENV)/.installed  ## one comparison beside the same runs as separate commands
	$(BIN)/python benchmarks/compare.py --pictures $(PHOTOGRAPHS) --apart

bench-scale: $(VENV)/.installed  ## training in two processes beside one
	$(BIN)/python benchmarks/scale.py

docs: $(VENV)/.installed  ## the documentation as a site, in site/; look at it with python -m http.server -d site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## remove what make made
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache
