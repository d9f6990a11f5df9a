-- $1, $2, $3: name, number and fence of a slot; $4: its new position.
-- No row: it has another fence, or is not there, and nothing was changed.
UPDATE slots SET position = $4 WHERE name = $1 AND slot = $2 AND fence = $3 RETURNING slot
