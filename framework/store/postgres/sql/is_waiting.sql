-- $1: a process; $2: a command id. No row: it is settled, or withdrawn.
SELECT FROM outbox WHERE process = $1 AND command_id = $2
