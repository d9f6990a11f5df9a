-- $1: a node. Gives back its slots and forgets it, along with nodes that have not lived for a day.
WITH released AS (
    UPDATE slots SET owner = NULL WHERE owner = $1
)
DELETE FROM heartbeats WHERE node = $1 OR beat_at < clock_timestamp() - interval '1 day'
