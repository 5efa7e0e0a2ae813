VENV := .venv
BIN := $(VENV)/bin
PACKAGES := apps cli data inversion models solvers training

$(VENV)/installed: pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,attack,bench,ocr,heif,lora]'
	touch $@

.PHONY: demo test gpu lint debian bench-accelerate bench-attack bench-docclean bench-edit bench-solvers

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

# What tests read files and render pages with: installed where that is possible, named where it is not.
debian:
	@missing=$$(for p in $$(cat debian-packages); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "installing" $$missing; (apt-get -qq update && apt-get -qq install -y $$missing >/dev/null) || \
		echo "could not install all of them: tests that need them cannot run"; \
	else echo "tests that need these Debian packages cannot run:" $$missing; fi

# Files side by side, one a core: most tests keep one core busy.
test: lint debian
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

gpu: $(VENV)/installed
	@$(BIN)/python tests/gpu.py

bench-accelerate: $(VENV)/installed
	mkdir -p runs
	$(BIN)/python -m benchmarks.accelerate --json runs/bench-accelerate.json --pictures runs/bench-accelerate

bench-attack: $(VENV)/installed
	mkdir -p runs
	$(BIN)/python -m benchmarks.attack $(DATA) --json runs/bench-attack.json --pictures runs/bench-attack

bench-docclean: $(VENV)/installed
	mkdir -p runs
	$(BIN)/python -m benchmarks.docclean $(DATA) --json runs/bench-docclean.json --pictures runs/bench-docclean

bench-edit: $(VENV)/installed
	mkdir -p runs
	$(BIN)/python -m benchmarks.edit --json runs/bench-edit.json --pictures runs/bench-edit

bench-solvers: $(VENV)/installed
	mkdir -p runs
	$(BIN)/python -m benchmarks.solvers --json runs/bench-solvers.json --pictures runs/bench-solvers
