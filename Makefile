# Two commands matter: `make demo` evolves a population on real data; `make test` runs the tests.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint docs reproduce bench clean

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
	$(BIN)/heredity papers --check
	$(BIN)/python docs/build.py --check

docs: $(VENV)/dev.stamp
	$(BIN)/python docs/build.py

# Every paper's claim; what is recorded in reproduce/ is recalled, so that it can be stopped and started again.
reproduce: $(VENV)/dev.stamp
	for paper in $$($(BIN)/heredity papers --json | $(BIN)/python -c "import json, sys; print(*(p['slug'] for p in json.load(sys.stdin)))"); \
	  do $(BIN)/heredity reproduce $$paper --executor processes:2 || exit 1; done

bench: $(VENV)/dev.stamp
	$(BIN)/python bench/run.py

clean:
	rm -rf demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
