-- $1: a subscription. Forgets it, with its slots and what is parked. No row: it was not there.
WITH unparked AS (
    DELETE FROM parked WHERE name = $1
), gone AS (
    DELETE FROM slots WHERE name = $1
)
DELETE FROM subscriptions WHERE name = $1 RETURNING name
