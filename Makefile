# Two commands matter: `make demo` evolves a population on real data; `make test` runs the tests.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint bench clean

$(VENV)/base.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/base.stamp

demo: $(VENV)/base.stamp
	$(BIN)/heredity evolve --lab demo/lab --export demo/winner
	@echo "  (source $(BIN)/activate puts heredity on your path)"

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python bench/size.py

bench: $(VENV)/dev.stamp
	$(BIN)/python bench/run.py

clean:
	rm -rf demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
