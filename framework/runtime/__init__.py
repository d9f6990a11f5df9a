"""The tasks that carry messages between an application's parts."""
