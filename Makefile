# Each target makes what it needs; Python 3.11+ and make are enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP     = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint stubs clean

$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/.base
	$(BIN)/trimtab demo $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest --cov --cov-report=term $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m coverage report --fail-under=95 --include='*/trimtab/domain/*,*/trimtab/core/*,*/trimtab/policy/*')

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy daemon models simulator tests benchmarks examples proto
	$(BIN)/lint-imports

stubs: $(VENV)/.dev
	$(BIN)/python proto/generate.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage
