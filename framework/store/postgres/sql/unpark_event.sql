-- $1, $2, $3: name, number and fence of a slot; $4: the position of a parked event.
-- No row: the slot has another fence, or is not there, and nothing was changed.
WITH held AS (
    SELECT slot FROM slots WHERE name = $1 AND slot = $2 AND fence = $3 FOR UPDATE
), gone AS (
    DELETE FROM parked WHERE name = $1 AND position = $4 AND EXISTS (SELECT FROM held)
)
SELECT slot FROM held
