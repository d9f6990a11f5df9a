-- $1: subscriptions, NULL for all. Returns how far their slots are behind.
SELECT name, slot, position, head, events_behind, seconds_behind, rate, owner, state, error,
       parked_keys, woken_by, reported_at
  FROM subscription_lag
 WHERE $1::text[] IS NULL
    OR name = ANY ($1)
 ORDER BY name, slot
