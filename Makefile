# make demo | test | lint | bench | learn | soak: each creates .venv from the lock file and needs nothing typed first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# The environment without pip (Debian without ensurepip) is filled by the pip outside it.
INSTALL := -q --no-compile -c requirements.lock -e '.[dev,demo]'

# With ARGS one of the two halves may have nothing to run: pytest then ends with 5.
NONE_IS_FINE = $(if $(ARGS),|| [ $$? -eq 5 ])

.PHONY: demo test lint bench learn soak lock clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	@$(BIN)/rlaifd demo $(if $(SEED),--seed $(SEED)) $(if $(KAFKA),--kafka $(KAFKA)) $(if $(JUDGE),--judge $(JUDGE)) \
	  $(if $(METHOD),--method $(METHOD))

test: $(STAMP)
	$(BIN)/python -m pytest -m "not alone" -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS) $(NONE_IS_FINE)
	$(BIN)/python -m pytest -m alone -n 2 --dist loadfile $(ARGS) $(NONE_IS_FINE)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

# A real small model learns a support task from its own logs, by METHOD=dpo (the default), sft or ppo: about 20
# minutes on two quiet cores by dpo.
learn: $(STAMP)
	@$(BIN)/python -m tests.learning --method $(or $(METHOD),dpo) --seed $(or $(SEED),0)

# The long repetitions: all of them, or PART=name.
soak: $(STAMP)
	@$(BIN)/python -m tests.soak $(PART)

# The lock is a constraints file, so that pip may take a CPU-only build of the pinned torch where it is
# configured with one. Only making the lock needs uv.
lock:
	uv pip compile --universal --python-version 3.11 --extra dev --extra demo --no-header --no-annotate \
	  pyproject.toml -o requirements.lock

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("rlaifd needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": set PYTHON=") if sys.version_info < (3, 11) else None'
	@echo "installing into $(VENV) (a few minutes the first time; torch may be large)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m venv --clear --without-pip $(VENV)
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; \
	  then $(BIN)/python -m pip install -q --upgrade 'pip>=25' && $(BIN)/python -m pip install $(INSTALL); \
	  else $(PYTHON) -m pip --python $(BIN)/python install $(INSTALL); fi
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

clean:
	rm -rf $(VENV) .rlaifd .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
