-- Returns the subscriptions there are, as they are recorded.
SELECT name, definition, is_paused, is_held FROM subscriptions ORDER BY name
