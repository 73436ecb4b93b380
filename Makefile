# make demo   set up, train both variants on the embedded data, print the table
# make paper  the paper's tables, figures and claims in miniature (under an hour on two cores; what is done is not redone)
# make test   set up with the test tools, lint, run the tests (under five minutes on two cores)
# make check  the longer tests as well: 30 kills, a real browser, whole notebooks
# make docs   the documentation's site, with every link checked, in build/site
# make dist   wheel and source archive in dist/, checked
# make test-install   the README's install and demo in an empty environment, with the newest versions allowed (3 minutes)
# make test-minimum   the tests with the oldest supported transformers and open_clip, in an environment of its own
# make audit  known vulnerabilities of the pinned dependencies; fails where the package index cannot tell
# make fuzz   100,000 damaged files for each reader, guided by coverage (hours; see tests/fuzz/run.py)
PYTHON ?= python3
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -rs
DEMO := runs/demo

.PHONY: demo paper test test-install test-minimum check docs dist audit fuzz lint clean

demo: .venv/demo
	$(BIN)/mmadapter-train --dataset demo --output-dir $(DEMO) $(if $(wildcard $(DEMO)/config.yaml),--resume)
	$(BIN)/mmadapter-eval $(DEMO) --intervals --controls --report $(DEMO)/report.html > $(DEMO)/report.txt
	@echo "Report: $(DEMO)/report.html"

paper: .venv/test
	$(BIN)/python -m eval.efficiency
	$(BIN)/python -m eval.paper

test: lint docs
	$(PYTEST) -m "not slow and not browser"

check: lint docs
	$(PYTEST) --hypothesis-profile=default

docs: .venv/test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --site-dir build/site

dist: .venv/test
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

test-install: .venv/test
	$(BIN)/python -m tests.docs.first_hour --problems 64 --python $(PYTHON)

test-minimum:
	$(PYTHON) -m venv .venv-minimum
	.venv-minimum/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-minimum.txt -e .[test]
	.venv-minimum/bin/python -m pytest -m "not slow and not browser"

audit:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check "pip-audit>=2.9"
	.venv-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

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
	rm -rf .venv .venv-minimum .venv-audit build dist .pytest_cache .ruff_cache .mypy_cache
