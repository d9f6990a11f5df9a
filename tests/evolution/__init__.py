"""Events that live for years: names, versions, and the steps between them."""
