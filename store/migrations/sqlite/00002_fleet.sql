-- +goose Up

-- What a list of models is filtered and sorted by: body has it too.
ALTER TABLE model ADD COLUMN verdict INTEGER NOT NULL DEFAULT 0;
ALTER TABLE model ADD COLUMN watched INTEGER NOT NULL DEFAULT 0;
ALTER TABLE model ADD COLUMN last_event_at INTEGER NOT NULL DEFAULT 0;
UPDATE model SET
	verdict = CASE json_extract(body, '$.verdict') WHEN 'fire' THEN 2 WHEN 'breach' THEN 1 ELSE 0 END,
	watched = CASE WHEN json_array_length(body, '$.policies') > 0 THEN 1 ELSE 0 END,
	last_event_at = COALESCE(CAST(1000 * unixepoch(json_extract(body, '$.last_event_at')) AS INTEGER), 0);

-- +goose Down
ALTER TABLE model DROP COLUMN last_event_at;
ALTER TABLE model DROP COLUMN watched;
ALTER TABLE model DROP COLUMN verdict;
