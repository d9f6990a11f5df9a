-- $1: a process; $2: command ids. Removes them from the outbox; returns where those that were there stood.
DELETE FROM outbox WHERE process = $1 AND command_id = ANY ($2) RETURNING instance, number, piece
