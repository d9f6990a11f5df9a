"""A bank on the framework: accounts, transfers between them, balances and statements to read."""
