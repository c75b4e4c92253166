# `make demo` and `make test` need nothing before them but Python 3.11 or newer with venv.
PYTHON ?= python3
BIN := .venv/bin

# Tests that read no capture, start no run and need no browser (tests/test_packaging.py holds them to that).
QUICK := aggregators claims conformance contract controls docs evaluate hashing house metrics operations params plan \
  precision results sklearn_adapter tables

.PHONY: env demo test quick docs board artefact coverage mutants faults ray slurm clean

env: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@echo "installing into .venv: some minutes, torch is large"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,pyod,slurm]'
	touch $@
	@echo "janus-bench is in .venv/bin; so that your shell knows it: . .venv/bin/activate"

# The main job on the built-in synthetic suite; a second call finds everything done.
demo: env
	JANUS_BENCH_HOME=demo/home $(BIN)/janus-bench run --protocol cross --detectors 'janus-context,shafir,iforest,iforest[input=features+context],knn[input=features+context],length,random' --seeds 42 --runs demo/runs

# What `env` installs is there, so no test may be skipped for want of it (tests/conftest.py).
test: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	JANUS_BENCH_PROVIDED="pyod selenium submitit $$JANUS_BENCH_PROVIDED" $(BIN)/pytest

# While you work: under a minute and a half.
quick: env
	$(BIN)/ruff check .
	$(BIN)/pytest $(QUICK:%=tests/test_%.py)

# The documentation as a site, in site/; it fails where a page or a link is missing.
docs: env
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python -m tests.reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Single edits that a bug could be, made one at a time in installed copies: each has to turn a test red (docs/mutants.md).
mutants: env
	$(BIN)/python -m tests.mutants

# Kills, detectors that misbehave, damaged files and mutated captures, long (docs/faults.md); `make test` has a short form.
faults: env
	$(BIN)/python -m tests.faults

# Fits on a Ray cluster of two nodes on this machine, whose workers are killed and whose nodes go away (minutes; needs the extra `ray`).
ray: env
	$(BIN)/pytest -n 0 tests/cluster/check_ray.py

# Fits on a Slurm of two nodes on this machine, whose jobs are killed and whose nodes go down (minutes; needs root and
# `apt-get install slurmctld slurmd slurm-client munge`).
slurm: env
	$(BIN)/pytest -n 0 tests/cluster/check_slurm.py

# Every detector on networks of your own, three seeds (hours): `make board DATA=folder`, whose subfolders hold captures and a labels.csv each.
board: env
	for labels in $(DATA)/*/labels.csv; do folder=$$(dirname $$labels); \
	  JANUS_BENCH_HOME=board/home $(BIN)/janus-bench data add $$(basename $$folder) $$folder || exit $$?; done
	JANUS_BENCH_HOME=board/home $(BIN)/janus-bench run --protocol cross --detectors all --profile quick --seeds 42,43,44 --runs board/runs
	JANUS_BENCH_HOME=board/home $(BIN)/janus-bench leaderboard --runs board/runs

# How much of what context tells is how captures were made (docs/context.md), on networks of your own: `make artefact DATA=folder` (minutes).
artefact: env
	for labels in $(DATA)/*/labels.csv; do folder=$$(dirname $$labels); \
	  JANUS_BENCH_HOME=artefact/home $(BIN)/janus-bench data add $$(basename $$folder) $$folder || exit $$?; done
	JANUS_BENCH_HOME=artefact/home $(BIN)/python -m benchmarks.context_artefact artefact/runs

# The simulations of docs/statistics.md: how often intervals cover the truth and tests raise false alarms (minutes).
coverage: env
	$(BIN)/python -m benchmarks.coverage

clean:
	rm -rf .venv demo board artefact runs build site *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
