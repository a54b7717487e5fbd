# make run    build and start the demo: visutility demo
# make test   set up, lint and run every test, with the race detector
# make interop  the senders that PyPI has, in a virtual environment of their own
# make bench  every figure of docs/benchmarks.md

SHELL   := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: build run test lint setup race interop bench fuzz proto clean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/visutility ./cmd/visutility
	CGO_ENABLED=0 go build -trimpath -o examples/bike-demand/bike-demand ./examples/bike-demand/cmd

run: build
	@scripts/run

# What the tests need beside Go: a C compiler for the race detector, a PostgreSQL server, Prometheus and its Alertmanager.
setup:
	@scripts/setup

test: setup lint race

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt these:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go tool staticcheck ./...

race:
	CGO_ENABLED=1 go test -race -timeout 30m ./...

interop:
	@scripts/interop .interop

# Each target for a short while; the corpora in testdata/fuzz run in every test.
fuzz:
	@scripts/fuzz $(or $(FUZZTIME),20s)

bench: build
	@scripts/bench

proto:
	go generate ./bus/...

clean:
	rm -rf bin examples/bike-demand/bike-demand
