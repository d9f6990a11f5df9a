-- $1: ids of events; $2: ids of commands. Returns whether one of them is recorded.
SELECT EXISTS (SELECT FROM events WHERE event_id = ANY ($1)) OR EXISTS (SELECT FROM receipts WHERE command_id = ANY ($2))
