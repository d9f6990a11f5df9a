-- $1: a name; $2: its definition; $3: how many slots it has; $4: the position they start at. Makes what is not there.
-- Returns the definition that is recorded.
WITH made AS (
    INSERT INTO subscriptions (name, definition) VALUES ($1, $2)
        ON CONFLICT ON CONSTRAINT subscriptions_pkey DO UPDATE SET name = excluded.name
    RETURNING definition
), slotted AS (
    INSERT INTO slots (name, slot, position, fence)
    SELECT $1, n, $4, nextval('first_fences') FROM generate_series(0, $3 - 1) AS n
     WHERE (SELECT definition FROM made) = $2
       AND NOT EXISTS (SELECT FROM slots WHERE name = $1)  -- which may be others than it says, until they are cut anew
        ON CONFLICT ON CONSTRAINT slots_pkey DO NOTHING
)
SELECT definition FROM made
