-- $1: subscriptions, NULL for all. Returns what they have set aside.
SELECT name, position, key, error, attempts, parked_at, asked
  FROM parked
 WHERE $1::text[] IS NULL
    OR name = ANY ($1)
 ORDER BY name, position, key
