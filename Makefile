# The same targets at home and in CI. `make run` is all a newcomer needs.
.PHONY: setup run demo test bench train fmt lint types clean

BIN := .venv/bin
SOURCES := agent telephony model tests
# Tests run against the SIP extension that was compiled with assertions.
WITH_ASSERTIONS := PYTHONPATH=$(CURDIR)/.setup/assertions

setup:
	@deploy/setup.sh

run: setup
	@$(BIN)/offhook serve

demo:
	@deploy/setup.sh voices
	@$(BIN)/offhook demo

test:
	@deploy/setup.sh test
	@$(MAKE) --no-print-directory lint types
	$(WITH_ASSERTIONS) $(BIN)/python -m pytest -n 3

bench:
	@deploy/setup.sh voices
	@$(BIN)/offhook bench worker
	@$(BIN)/offhook bench engine --preset builtin
	@$(BIN)/offhook bench bridge
	@$(BIN)/offhook bench calls
	@$(BIN)/offhook bench survival
	@$(BIN)/offhook bench loss
	@$(BIN)/offhook load

train:
	@deploy/setup.sh voices
	@$(BIN)/offhook train

fmt:
	@deploy/setup.sh test
	@$(BIN)/ruff check -q --fix $(SOURCES) || true
	@$(BIN)/ruff format $(SOURCES)

lint:
	@deploy/setup.sh test
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/lint-imports

types:
	@deploy/setup.sh test
	$(BIN)/mypy

clean:
	rm -rf .venv .setup .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
