-- $1: a process; $2: a number; $3: a piece; $4: how many. Moves the later pieces of one number up.
UPDATE outbox SET piece = piece + $4 WHERE process = $1 AND number = $2 AND piece > $3
