-- +goose Up
-- Text sorts by bytes (COLLATE "C"), as it does in SQLite, so that lists and
-- cursors are the same on both.

-- Counters that grow in the order of commits: whoever takes a number holds the
-- row until the end of the transaction.
CREATE TABLE counter (
	name  TEXT COLLATE "C" PRIMARY KEY,
	value BIGINT NOT NULL
);
INSERT INTO counter (name, value) VALUES ('epoch', 0), ('outbox', 0), ('activity', 0);

CREATE TABLE log_partition (
	id       BIGINT PRIMARY KEY,
	owner    TEXT COLLATE "C" NOT NULL,
	epoch    BIGINT NOT NULL,
	position BIGINT NOT NULL,
	snapshot BIGINT NOT NULL
);

CREATE TABLE layout (
	digest TEXT COLLATE "C" PRIMARY KEY,
	body   BYTEA NOT NULL
);

CREATE TABLE snapshot (
	partition_id BIGINT NOT NULL,
	model        TEXT COLLATE "C" NOT NULL,
	layout       TEXT COLLATE "C" NOT NULL,
	state        BYTEA NOT NULL,
	facts        TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (partition_id, model)
);

CREATE TABLE model (
	name          TEXT COLLATE "C" PRIMARY KEY,
	paused        BIGINT NOT NULL,
	last_decision TEXT COLLATE "C" NOT NULL,
	body          TEXT COLLATE "C" NOT NULL
);
CREATE INDEX model_last_decision ON model (last_decision);
CREATE INDEX model_paused ON model (name) WHERE paused = 1;

CREATE TABLE series (
	digest TEXT COLLATE "C" PRIMARY KEY,
	model  TEXT COLLATE "C" NOT NULL,
	metric TEXT COLLATE "C" NOT NULL,
	labels TEXT COLLATE "C" NOT NULL
);

CREATE TABLE decision (
	id      TEXT COLLATE "C" PRIMARY KEY,
	model   TEXT COLLATE "C" NOT NULL,
	policy  TEXT COLLATE "C" NOT NULL,
	outcome BIGINT NOT NULL,
	request TEXT COLLATE "C" NOT NULL,
	time    BIGINT NOT NULL,
	body    TEXT COLLATE "C" NOT NULL
);
CREATE INDEX decision_time ON decision (time, id);
CREATE INDEX decision_model ON decision (model, time, id);
CREATE INDEX decision_policy ON decision (policy, time, id);
CREATE INDEX decision_outcome ON decision (outcome, time, id);
CREATE INDEX decision_request ON decision (request, time, id) WHERE request <> '';

CREATE TABLE run (
	id          TEXT COLLATE "C" PRIMARY KEY,
	model       TEXT COLLATE "C" NOT NULL,
	decision    TEXT COLLATE "C" NOT NULL,
	state       BIGINT NOT NULL,
	active      BIGINT NOT NULL,
	ended       BIGINT NOT NULL,
	attempt     BIGINT NOT NULL,
	progress    DOUBLE PRECISION NOT NULL,
	message     TEXT COLLATE "C" NOT NULL,
	progress_at BIGINT NOT NULL,
	wish        TEXT COLLATE "C" NOT NULL,
	wish_by     TEXT COLLATE "C" NOT NULL,
	created_at  BIGINT NOT NULL,
	ended_at    BIGINT NOT NULL,
	body        TEXT COLLATE "C" NOT NULL
);
-- At most one active run per model: the rule that everything else rests on.
CREATE UNIQUE INDEX run_active ON run (model) WHERE active = 1;
CREATE INDEX run_open ON run (created_at, id) WHERE ended = 0;
CREATE INDEX run_ended ON run (ended_at, id) WHERE ended = 1;
CREATE INDEX run_time ON run (created_at, id);
CREATE INDEX run_model ON run (model, created_at, id);
CREATE INDEX run_state ON run (state, created_at, id);
CREATE INDEX run_decision ON run (decision);

CREATE TABLE transition (
	run    TEXT COLLATE "C" NOT NULL REFERENCES run (id) ON DELETE CASCADE,
	seq    BIGINT NOT NULL,
	was    BIGINT NOT NULL,
	became BIGINT NOT NULL,
	time   BIGINT NOT NULL,
	note   TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (run, seq)
);

CREATE TABLE policy (
	name       TEXT COLLATE "C" NOT NULL,
	revision   TEXT COLLATE "C" NOT NULL,
	dir        TEXT COLLATE "C" NOT NULL,
	source     BYTEA NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (name, revision)
);

CREATE TABLE version (
	model  TEXT COLLATE "C" NOT NULL,
	number BIGINT NOT NULL,
	run    TEXT COLLATE "C" NOT NULL,
	body   TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (model, number)
);
CREATE UNIQUE INDEX version_run ON version (model, run) WHERE run <> '';

CREATE TABLE alias (
	model  TEXT COLLATE "C" NOT NULL,
	name   TEXT COLLATE "C" NOT NULL,
	number BIGINT NOT NULL,
	PRIMARY KEY (model, name),
	FOREIGN KEY (model, number) REFERENCES version (model, number)
);
CREATE INDEX alias_version ON alias (model, number);

CREATE TABLE alias_history (
	model  TEXT COLLATE "C" NOT NULL,
	name   TEXT COLLATE "C" NOT NULL,
	seq    BIGINT NOT NULL,
	was    TEXT COLLATE "C" NOT NULL,
	became TEXT COLLATE "C" NOT NULL,
	time   BIGINT NOT NULL,
	PRIMARY KEY (model, name, seq)
);

CREATE TABLE outbox (
	id   BIGINT PRIMARY KEY,
	body TEXT COLLATE "C" NOT NULL
);

CREATE TABLE activity (
	seq   BIGINT PRIMARY KEY,
	time  BIGINT NOT NULL,
	kind  TEXT COLLATE "C" NOT NULL,
	model TEXT COLLATE "C" NOT NULL,
	id    TEXT COLLATE "C" NOT NULL,
	data  TEXT COLLATE "C" NOT NULL
);
CREATE INDEX activity_time ON activity (time, seq);

CREATE TABLE observer_position (
	name         TEXT COLLATE "C" NOT NULL,
	partition_id BIGINT NOT NULL,
	position     BIGINT NOT NULL,
	PRIMARY KEY (name, partition_id)
);

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
