# Two commands: `make demo` trains GANs on handwritten digits and on drawn faces, and opens up what happened; `make test` runs all tests.
# `make check` looks at format, lint and types.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check audit clean

demo: .venv/demo
	$(BIN)/sparring train cs231n-dcgan --data digits --rounds 300 --eval-every 100 --discriminator-lr 2e-4
	$(BIN)/sparring train ganhacks --data pixel-faces --size 32 --rounds 400 --eval-every 100 --ema-decay 0.99
	@for name in cs231n-dcgan-digits ganhacks-pixel-faces; do \
	run=$$(ls -d runs/[0-9]*-$$name | tail -n 1) && \
	$(BIN)/sparring evaluate $$run && \
	echo && echo "What happened, as a page: file://$$(pwd)/$$($(BIN)/sparring report $$run)" || exit 1; done

test: .venv/dev
	$(BIN)/python -m pytest -n $$($(BIN)/python -c "import os; print(os.cpu_count() + 1)") --dist worksteal

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Known holes in what is installed, by pip-audit. It asks PyPI and OSV, so it is no part of continuous integration.
audit: .venv/dev
	test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && .venv/audit/bin/pip install --quiet pip-audit; }
	.venv/audit/bin/pip-audit --skip-editable --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# One marker per set of packages, so that nothing is installed twice and everything again when pyproject.toml changes.
.venv/demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	touch $@

.venv/dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf .venv
