-- $1: a process; $2: command ids; $3, $4: a slot of it and its fence, NULL for all. Removes them from the outbox; returns
-- where those that were there stood, NULL where none was. No row: the slot has another fence, and nothing was changed.
WITH held AS MATERIALIZED (
    SELECT slot FROM slots WHERE name = $1 AND slot = $3 AND fence = $4 FOR UPDATE
), may AS (
    SELECT WHERE $3::integer IS NULL OR EXISTS (SELECT FROM held)
), gone AS (
    DELETE FROM outbox
     WHERE process = $1
       AND command_id = ANY ($2)
       AND EXISTS (SELECT FROM may)
    RETURNING number, piece
)
SELECT g.number, g.piece FROM may LEFT JOIN gone AS g ON true
