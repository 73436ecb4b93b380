# make demo   set up, train both variants on the embedded data, print the table
# make test   set up with the test tools, lint, run the tests (under five minutes on two cores)
# make check  the longer tests as well: a real browser, whole notebooks
# make fuzz   100,000 damaged files for each reader, guided by coverage (hours; see tests/fuzz/run.py)
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo

.PHONY: demo test check fuzz lint clean

demo: .venv/demo
	$(BIN)/mmadapter-train --dataset demo --output-dir $(DEMO) $(if $(wildcard $(DEMO)/config.yaml),--resume)
	$(BIN)/mmadapter-eval $(DEMO) --intervals --controls --report $(DEMO)/report.html > $(DEMO)/report.txt
	@echo "Report: $(DEMO)/report.html"

test: lint
	$(BIN)/python -m pytest -m "not slow and not browser"

check: lint
	$(BIN)/python -m pytest

fuzz: .venv/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .[fuzz]
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.run all

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/test: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .[test]
	touch $@ .venv/demo

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache
