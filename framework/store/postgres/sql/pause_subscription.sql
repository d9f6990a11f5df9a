-- $1: a subscription; $2: whether it is to stand still. No row: it is not there.
WITH told AS (
    INSERT INTO framework_nodes.changes AS c (schema, number) VALUES (current_schema(), 1)
        ON CONFLICT ON CONSTRAINT changes_pkey DO UPDATE SET number = c.number + 1
)
UPDATE subscriptions SET is_paused = $2 WHERE name = $1 RETURNING name
