"""How fast it is: every row is measured beside what it is compared with, in one run on one server."""
