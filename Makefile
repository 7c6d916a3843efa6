# make demo   sets everything up and walks the whole road on synthetic radiographs
# make test   sets everything up, checks the code and runs the tests

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check format clean

demo: $(VENV)/.installed
	$(BIN)/xraytk demo

test: check
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Python files are compiled when they are first used: most of torch and transformers never is
$(VENV)/.installed: pyproject.toml | $(VENV)
	$(BIN)/python -m pip install --no-compile --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)
	$(BIN)/python -m pip install --no-compile --editable '.[dev]'
	touch $@ $(VENV)/.installed

$(VENV):
	$(PYTHON) -c 'import sys; sys.exit("xraytk needs Python 3.11 or newer; say make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) xraytk-demo xraytk-work
