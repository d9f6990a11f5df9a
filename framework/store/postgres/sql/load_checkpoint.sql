-- $1: a name. No row: it never saved a position.
SELECT position FROM checkpoints WHERE name = $1
