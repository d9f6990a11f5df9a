-- $1, $2, $3: a process, and where a refused command stood; $4, $5: its instance, and what it was yielded for. Removes what
-- was yielded for the same, waits behind it, and was not scheduled.
DELETE FROM outbox
 WHERE process = $1
   AND instance = $4
   AND causation_id = $5
   AND (number, piece) > ($2, $3)
   AND timer IS NULL
   AND parked IS NULL
