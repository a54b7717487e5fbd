# make build  the web page, where there is Node, and the programs
# make run    build, start the server and play the bike-demand stream through it
# make test   set up, lint and run every test, with the race detector
# make interop  the senders that PyPI has, in a virtual environment of their own
# make python   the Python client: types and tests, in another
# make bench  every figure of docs/benchmarks.md
# make screenshots  pictures of every screen of the page, light and dark, in ui/screenshots

SHELL   := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
RUN     := .run

# The web page is built where there is npm. Without it the program says how to get the page.
PAGE         := $(if $(shell command -v npm),ui/dist/index.html)
PAGE_SOURCES := $(shell git ls-files ui/src ui/index.html ui/package.json 'ui/*.ts' 2>/dev/null)

.PHONY: build run test lint setup race page types screenshots interop python bench fuzz proto clean

build: $(PAGE)
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/visutility ./cmd/visutility
	CGO_ENABLED=0 go build -trimpath -o examples/bike-demand/bike-demand ./examples/bike-demand

ui/dist/index.html: $(PAGE_SOURCES) ui/node_modules
	cd ui && npm run --silent build -- --logLevel error

ui/node_modules: ui/package-lock.json
	cd ui && npm ci --no-progress
	@touch $@

run: build
	@scripts/run $(RUN)

# What the tests need beside Go: a C compiler for the race detector, a PostgreSQL server, Prometheus and its Alertmanager, Node and Chromium.
setup:
	@scripts/setup

test: setup lint page race

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt these:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go tool staticcheck ./...

race:
	CGO_ENABLED=1 go test -race -timeout 30m ./...

interop:
	@scripts/interop .interop

python:
	@scripts/python .python-venv

# The web page: types, logic, and all of it in a browser against the built program. A make of its own, for
# setup may just have brought npm.
page:
	@$(MAKE) --no-print-directory build
	cd ui && npm run --silent types -- --check && npm run --silent check && npm run --silent test && npm run --silent e2e

# The types of the API, anew from ui/openapi.json, which a test of the server writes.
types: ui/node_modules
	go test ./server -run TestDocumentIsCommitted -rewrite
	cd ui && npm run --silent types

screenshots: build
	cd ui && npm run --silent screenshots

# Each target for a short while; the corpora in testdata/fuzz run in every test.
fuzz:
	@scripts/fuzz $(or $(FUZZTIME),20s)

bench: build
	@scripts/bench

proto:
	go generate ./bus/...

clean:
	rm -rf bin ui/dist ui/node_modules $(RUN) examples/bike-demand/bike-demand
