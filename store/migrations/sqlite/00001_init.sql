-- +goose Up

-- Counters that grow in the order of commits: whoever takes a number holds the
-- row until the end of the transaction.
CREATE TABLE counter (
	name  TEXT PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT;
INSERT INTO counter (name, value) VALUES ('epoch', 0), ('outbox', 0), ('activity', 0);

CREATE TABLE log_partition (
	id       INTEGER PRIMARY KEY,
	owner    TEXT NOT NULL,
	epoch    INTEGER NOT NULL,
	position INTEGER NOT NULL,
	snapshot INTEGER NOT NULL
) STRICT;

CREATE TABLE layout (
	digest TEXT PRIMARY KEY,
	body   BLOB NOT NULL
) STRICT;

CREATE TABLE snapshot (
	partition_id INTEGER NOT NULL,
	model        TEXT NOT NULL,
	layout       TEXT NOT NULL,
	state        BLOB NOT NULL,
	facts        TEXT NOT NULL,
	PRIMARY KEY (partition_id, model)
) STRICT;

CREATE TABLE model (
	name          TEXT PRIMARY KEY,
	paused        INTEGER NOT NULL,
	last_decision TEXT NOT NULL,
	body          TEXT NOT NULL
) STRICT;
CREATE INDEX model_last_decision ON model (last_decision);
CREATE INDEX model_paused ON model (name) WHERE paused = 1;

CREATE TABLE series (
	digest TEXT PRIMARY KEY,
	model  TEXT NOT NULL,
	metric TEXT NOT NULL,
	labels TEXT NOT NULL
) STRICT;

CREATE TABLE decision (
	id      TEXT PRIMARY KEY,
	model   TEXT NOT NULL,
	policy  TEXT NOT NULL,
	outcome INTEGER NOT NULL,
	request TEXT NOT NULL,
	time    INTEGER NOT NULL,
	body    TEXT NOT NULL
) STRICT;
CREATE INDEX decision_time ON decision (time, id);
CREATE INDEX decision_model ON decision (model, time, id);
CREATE INDEX decision_policy ON decision (policy, time, id);
CREATE INDEX decision_outcome ON decision (outcome, time, id);
CREATE INDEX decision_request ON decision (request, time, id) WHERE request <> '';

CREATE TABLE run (
	id          TEXT PRIMARY KEY,
	model       TEXT NOT NULL,
	decision    TEXT NOT NULL,
	state       INTEGER NOT NULL,
	active      INTEGER NOT NULL,
	ended       INTEGER NOT NULL,
	attempt     INTEGER NOT NULL,
	progress    REAL NOT NULL,
	message     TEXT NOT NULL,
	progress_at INTEGER NOT NULL,
	wish        TEXT NOT NULL,
	wish_by     TEXT NOT NULL,
	created_at  INTEGER NOT NULL,
	ended_at    INTEGER NOT NULL,
	body        TEXT NOT NULL
) STRICT;
-- At most one active run per model: the rule that everything else rests on.
CREATE UNIQUE INDEX run_active ON run (model) WHERE active = 1;
CREATE INDEX run_open ON run (created_at, id) WHERE ended = 0;
CREATE INDEX run_ended ON run (ended_at, id) WHERE ended = 1;
CREATE INDEX run_time ON run (created_at, id);
CREATE INDEX run_model ON run (model, created_at, id);
CREATE INDEX run_state ON run (state, created_at, id);
CREATE INDEX run_decision ON run (decision);

CREATE TABLE transition (
	run    TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
	seq    INTEGER NOT NULL,
	was    INTEGER NOT NULL,
	became INTEGER NOT NULL,
	time   INTEGER NOT NULL,
	note   TEXT NOT NULL,
	PRIMARY KEY (run, seq)
) STRICT;

CREATE TABLE policy (
	name       TEXT NOT NULL,
	revision   TEXT NOT NULL,
	dir        TEXT NOT NULL,
	source     BLOB NOT NULL,
	created_at INTEGER NOT NULL,
	PRIMARY KEY (name, revision)
) STRICT;

CREATE TABLE version (
	model  TEXT NOT NULL,
	number INTEGER NOT NULL,
	run    TEXT NOT NULL,
	body   TEXT NOT NULL,
	PRIMARY KEY (model, number)
) STRICT;
CREATE UNIQUE INDEX version_run ON version (model, run) WHERE run <> '';

CREATE TABLE alias (
	model  TEXT NOT NULL,
	name   TEXT NOT NULL,
	number INTEGER NOT NULL,
	PRIMARY KEY (model, name),
	FOREIGN KEY (model, number) REFERENCES version (model, number)
) STRICT;
CREATE INDEX alias_version ON alias (model, number);

CREATE TABLE alias_history (
	model  TEXT NOT NULL,
	name   TEXT NOT NULL,
	seq    INTEGER NOT NULL,
	was    TEXT NOT NULL,
	became TEXT NOT NULL,
	time   INTEGER NOT NULL,
	PRIMARY KEY (model, name, seq)
) STRICT;

CREATE TABLE outbox (
	id   INTEGER PRIMARY KEY,
	body TEXT NOT NULL
) STRICT;

CREATE TABLE activity (
	seq   INTEGER PRIMARY KEY,
	time  INTEGER NOT NULL,
	kind  TEXT NOT NULL,
	model TEXT NOT NULL,
	id    TEXT NOT NULL,
	data  TEXT NOT NULL
) STRICT;
CREATE INDEX activity_time ON activity (time, seq);

CREATE TABLE observer_position (
	name         TEXT NOT NULL,
	partition_id INTEGER NOT NULL,
	position     INTEGER NOT NULL,
	PRIMARY KEY (name, partition_id)
) STRICT;

-- +goose Down
DROP TABLE observer_position;
DROP TABLE activity;
DROP TABLE outbox;
DROP TABLE alias_history;
DROP TABLE alias;
DROP TABLE version;
DROP TABLE policy;
DROP TABLE transition;
DROP TABLE run;
DROP TABLE decision;
DROP TABLE series;
DROP TABLE model;
DROP TABLE snapshot;
DROP TABLE layout;
DROP TABLE log_partition;
DROP TABLE counter;
