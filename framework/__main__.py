"""`python -m framework GROUP VERB`: what is done to a store from outside of an application."""

from framework.cli import main

if __name__ == "__main__":
    main(prog_name="python -m framework")
