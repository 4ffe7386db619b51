# Every target is a thin wrapper: it prints the command it runs, and the command can be typed by hand.
# `ARGS` is passed on, e.g. make bench ARGS="measure.repeats=3".

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup bench bench-all bench-batch bench-accuracy cutoff overhead figures report doctor fidelity compiled gpu-bench test test-nightly check lint format typecheck models reference-report lock clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(READY) ## Make .venv with the locked dependencies

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

bench: $(READY) ## Compare resident, offload, sd_offload and sp_moe on HumanEval (results/bench)
	$(BIN)/python -m harness experiment=bench $(ARGS)

bench-all: $(READY) ## Compare all systems in both hardware profiles (results/bench-all)
	$(BIN)/python -m harness suite experiment=bench_all $(ARGS)

bench-accuracy: $(READY) ## Compare what all systems get right on exercises and HumanEval (results/bench-accuracy)
	$(BIN)/python -m harness suite experiment=bench_accuracy $(ARGS)

bench-batch: $(READY) ## Batches of 1 to 64: throughput, bytes and speculation at each (results/bench-batch)
	$(BIN)/python -m harness suite experiment=bench_batch $(ARGS)
	$(BIN)/python -m harness batches results/bench-batch

cutoff: $(READY) ## TPOT over the cutoff layer, the one that the warm-up chooses beside it (results/cutoff)
	$(BIN)/python -m harness suite experiment=cutoff $(ARGS)

overhead: $(READY) ## Cost of measuring, and of our loop against transformers' generate (results/overhead)
	$(BIN)/python -m harness experiment=overhead $(ARGS)
	$(BIN)/python -m harness overhead experiment=overhead $(ARGS)

fidelity: $(READY) ## How well a replay predicts this machine, nothing fitted (results/fidelity)
	$(BIN)/python -m harness record experiment=fidelity replay=traces/fidelity $(ARGS)
	$(BIN)/python -m harness suite experiment=fidelity $(ARGS)
	-$(BIN)/python -m harness suite experiment=fidelity replay=traces/fidelity timed_by=results/fidelity/live/provenance.json output=results/fidelity/replayed $(ARGS)
	$(BIN)/python -m harness fidelity results/fidelity/live results/fidelity/replayed

compiled: $(READY) ## A compiled copy of `systems`, for long replays: five times as fast (build/compiled)
	$(BIN)/python -m harness compiled

figures: $(READY) ## Draw every figure from stored records, offline (results/figures), and fill the tables of README and docs
	$(BIN)/python -m harness figures $(ARGS)
	$(BIN)/python -m harness pages

report: $(READY) ## A page per published result set, with Markdown and CSV (reports/)
	$(BIN)/python -m harness report $(ARGS)

doctor: $(READY) ## What this machine can do, what will be noisy, what to change
	$(BIN)/python -m harness doctor $(ARGS)

gpu-bench: $(READY) ## Run the kit on a GPU, at most 8 minutes (build/gpu_bench/back; without network: docs/gpu.md)
	$(BIN)/python -m harness gpu_bench $(ARGS)

test: $(READY) ## Run the test suite, on all processors
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-nightly: $(READY) ## Run the tests that take long
	$(BIN)/python -m pytest -m nightly -o faulthandler_timeout=900 $(ARGS)

check: $(READY) ## Check counts against the committed baselines (results/check)
	OMP_NUM_THREADS=1 $(BIN)/python -m harness check $(ARGS)

lint: $(READY) ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## Apply style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(READY) ## Check types, strictly
	$(BIN)/mypy

models: $(READY) ## Train the reference pair again (about three hours on two idle cores)
	$(BIN)/python -m torch.distributed.run --nproc-per-node 2 -m models.train $(ARGS)
	$(BIN)/python -m models.publish

reference-report: $(READY) ## Measure the reference pair (results/reference)
	OMP_NUM_THREADS=1 $(BIN)/python -m models.report $(ARGS)

lock: $(READY) ## Pin the versions now in .venv, after an upgrade by hand
	$(BIN)/python -m pip freeze --exclude-editable | grep -v '^spmoe-bench' | sed 's/+cpu$$//' > requirements.lock

clean: ## Remove caches and unpublished runs, not results
	rm -rf .mypy_cache .ruff_cache .pytest_cache .cache outputs multirun reports results/runs
