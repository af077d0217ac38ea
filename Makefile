# The same commands as CI. Everything sets itself up; PYTHON=python3 uses an environment of your own instead.
PYTHON ?= .venv/bin/python
TEST_JOBS ?= 2
JOBS ?= 2
INPUTS ?= 1000000
MINUTES ?= 0
CLEAN ?= 200
EXAMPLE ?= examples/looplm/addition.spak

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

.venv/ready: constraints.txt pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

ifeq ($(PYTHON),.venv/bin/python)
ENV = .venv/ready
endif

run: $(ENV)      ## train and judge the example (EXAMPLE=…)
	$(PYTHON) -m spakc run $(EXAMPLE)

test: $(ENV)     ## every test that needs no GPU
	$(PYTHON) -m pytest -n $(TEST_JOBS) --ignore tests/gpu tests

lint: $(ENV)     ## ruff, mypy --strict, the import linter
	$(PYTHON) -m ruff check spakc runtime tests
	$(PYTHON) -m ruff format --check spakc runtime tests
	$(PYTHON) -m mypy -p spakc -p spak_runtime
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command as lint; lint()'

golden: $(ENV)   ## rewrite the golden files; read the difference before you commit it
	$(PYTHON) -m pytest -q tests/unit tests/nvrtc --update-golden

docs: $(ENV)     ## write the pages of docs/ that are tables of the compiler
	$(PYTHON) -m spakc.pages

gpu: $(ENV)      ## the tests that need a GPU; they say `not run: no device` without one
	$(PYTHON) -m pytest -rs tests/gpu
	$(PYTHON) -m pytest -rs -m gpu tests/unit/emulator

sanitize: $(ENV) ## compute-sanitizer over every kernel, on a GPU; says `not run` where it is not installed
	$(PYTHON) -m tests.gpu.sanitize

selftest: $(ENV) ## damage every kernel in one place at a time, JOBS at once: does verify see it? goes on where it was (out/selftest.jsonl)
	$(PYTHON) -m spakc selftest --jobs $(JOBS)

spills: $(ENV)   ## every variant of attention and products that a plan holds, for four architectures, without a GPU: none spills; an hour, JOBS at once
	$(PYTHON) -m pytest -q -n $(JOBS) tests/nvrtc/spills.py

fuzz: $(ENV)     ## INPUTS (a million) random inputs through check, fmt and the language server, JOBS at a time; goes on where it was; failures lie in out/fuzz
	nice -n 19 $(PYTHON) -m tests.fuzz.campaign --inputs $(INPUTS) --jobs $(JOBS) --minutes $(MINUTES)

wheel: $(ENV)    ## build the wheel and the source distribution into dist/
	$(PYTHON) -m build

bench-check: $(ENV) ## how long `spakc check` and `spakc compile` take, start-up included, beside their budgets
	$(PYTHON) -m tests.packaging.bench_check
	$(PYTHON) -m pytest -q tests/packaging/budgets.py

bench-verify: $(ENV) ## how long verification takes on the emulator, beside its reach, and CLEAN clean cases
	$(PYTHON) -m tests.property.bench_verify --clean $(CLEAN) --jobs $(JOBS)

bench-clean: $(ENV) ## 10,000 cases of kernels that are right, JOBS at a time: false alarms; goes on where it was (out/clean_cases.jsonl)
	$(PYTHON) -m tests.property.clean_cases --cases 10000 --jobs $(JOBS)

.PHONY: help run test lint golden docs gpu sanitize selftest spills fuzz wheel bench-check bench-verify bench-clean
