-- $1: a process; $2: a command id; $3: the reason.
UPDATE outbox SET parked = $3 WHERE process = $1 AND command_id = $2
