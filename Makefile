# make demo    the whole story: three parties, a shared model, a client, and the plain model beside it
# make test    every test, the slow ones too; `make test ARGS="-m 'not slow'"` for the quick ones
# make lint    ruff and mypy
# make soak    break parties, clients and links in generated ways, for ten minutes; `make soak ARGS="--minutes 60"`
# make fuzz    look for bytes that break a reader's promises, a minute for each reader; Linux only
# make bench   the figures of the shipped model and of every kind of op: tables and JSON
# make bench-serving  many clients at once, fairness, faults under load
# make image   the container image of a party, with docker, podman or buildah
# make venv-r  the environment of the R examples (.venv-r)
# make clean   remove what these made

VENV := .venv
VENV_R := .venv-r
BIN := $(VENV)/bin
IMAGE := keras-private
PIP_FLAGS := --disable-pip-version-check -qq -c
ARGS ?=

# The first Python that TensorFlow has wheels for. Another: make PYTHON=/path/to/python demo
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
endif

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-serving image soak fuzz venv-r clean

help:
	@sed -n 's/^# make/make/p' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.kernels
	@$(BIN)/python demo.py $(ARGS)

# Fresh clones have no R environment, and most machines no R: those tests then skip, and say so.
test: $(VENV)/.dev $(VENV)/.kernels
	@KERAS_PRIVATE_R_PYTHON="$${KERAS_PRIVATE_R_PYTHON:-$(wildcard $(CURDIR)/$(VENV_R)/bin/python)}" \
		$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy serve.py client.py demo.py models/train.py
	$(BIN)/mypy examples/models/*.py
	$(BIN)/mypy examples/fastapi/app.py

bench: $(VENV)/.dev $(VENV)/.kernels
	@$(BIN)/python -m benchmarks $(ARGS)

bench-serving: $(VENV)/.dev $(VENV)/.kernels
	@$(BIN)/python -m benchmarks.serving $(ARGS)

soak: $(VENV)/.dev $(VENV)/.kernels
	@$(BIN)/python -m tests.faults.soak $(ARGS)

# Another base image or name: make image ARGS="--build-arg PYTHON=…" IMAGE=registry.example.org/keras-private:0.1.0
image:
	@builder=$$(for b in docker podman buildah; do $$b info >/dev/null 2>&1 && echo $$b && break; done); \
		[ -n "$$builder" ] || { echo "None of docker, podman and buildah works here; one of them builds the image." >&2; exit 1; }; \
		$$builder build -f deploy/container/Containerfile -t $(IMAGE) $(ARGS) .

fuzz: $(VENV)/.dev
	@$(BIN)/python -m pip install $(PIP_FLAGS) constraints.txt -e '.[fuzz]'
	@$(BIN)/python -m tests.fuzz $(ARGS)

venv-r: $(VENV_R)/.ready

clean:
	rm -rf $(VENV) $(VENV_R)

# -- environments: a stamp file each, renewed when what is to be installed changes ------------------------------------

.PHONY: check-python
check-python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11, 3.12 or 3.13 found (TensorFlow needs one of them)." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12 demo" >&2; exit 1; fi
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(BIN)/python: | check-python
	@"$(PYTHON)" -m venv $(VENV)

$(VENV)/.owner: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing TensorFlow and the rest into $(VENV), once (2 GB on disk, a minute or more) ..."
	@$(BIN)/python -m pip install $(PIP_FLAGS) constraints.txt -e '.[owner]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing TensorFlow, the test tools and the rest into $(VENV), once (a minute or more) ..."
	@$(BIN)/python -m pip install $(PIP_FLAGS) constraints.txt -e '.[owner,test,lint]'
	@touch $(VENV)/.owner $@

$(VENV)/.kernels: $(VENV)/.owner $(wildcard keras_private/mpc/kernels/*.py)
	@echo "Compiling the arithmetic for this processor, once (some seconds) ..."
	@$(BIN)/python -m keras_private.mpc.kernels
	@touch $@

# Debian's reticulate (1.28) does not know numpy 2.
$(VENV_R)/.ready: pyproject.toml constraints.txt | check-python
	@echo "Installing TensorFlow and the rest with numpy 1.26 into $(VENV_R), once (a minute or more) ..."
	@"$(PYTHON)" -m venv $(VENV_R)
	@sed 's/^numpy==.*/numpy==1.26.4/' constraints.txt > $(VENV_R)/constraints.txt
	@$(VENV_R)/bin/python -m pip install $(PIP_FLAGS) $(VENV_R)/constraints.txt -e '.[owner]'
	@touch $@
