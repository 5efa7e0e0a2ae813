VENV := .venv
BIN := $(VENV)/bin
PACKAGES := apps cli data inversion models solvers training

$(VENV)/installed: pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,attack,bench,ocr,heif]'
	touch $@

.PHONY: demo test lint bench-attack bench-docclean bench-edit bench-solvers

demo: $(VENV)/installed
	$(BIN)/fastdiff docclean data/samples --out demo --truth data/samples/truth --force
	@echo "Look at demo/: the cleaned pages, and demo/report.json"

# Static checkers do not run setuptools' import hook for a mapped package: they read these links instead.
.types: pyproject.toml
	mkdir -p .types/fastdiff
	for p in $(PACKAGES); do ln -sfn ../../$$p .types/fastdiff/$$p; done
	touch .types

lint: $(VENV)/installed .types
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

bench-attack: $(VENV)/installed
	mkdir -p runs
	$(BIN)/python -m benchmarks.attack $(DATA) --json runs/bench-attack.json --pictures runs/bench-attack

bench-docclean: $(VENV)/installed
	$(BIN)/python -m benchmarks.docclean $(DATA)

bench-edit: $(VENV)/installed
	mkdir -p runs
	$(BIN)/python -m benchmarks.edit --json runs/bench-edit.json --pictures runs/bench-edit

bench-solvers: $(VENV)/installed
	mkdir -p runs
	$(BIN)/python -m benchmarks.solvers --json runs/bench-solvers.json --pictures runs/bench-solvers
