-- $1: a subscription; $2: what is asked for; $3: a key, NULL for any; $4: a position, NULL for any. Returns the positions.
WITH told AS (
    INSERT INTO framework_nodes.changes AS c (schema, number) VALUES (current_schema(), 1)
        ON CONFLICT ON CONSTRAINT changes_pkey DO UPDATE SET number = c.number + 1
)
UPDATE parked
   SET asked = $2
 WHERE name = $1
   AND ($3::text IS NULL OR key = $3)
   AND ($4::bigint IS NULL OR position = $4)
RETURNING position
