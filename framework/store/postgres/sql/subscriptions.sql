-- Returns the subscriptions there are, as they are recorded.
SELECT name, definition FROM subscriptions ORDER BY name
