"""Scripts that run in a process of their own, where they may import a runtime or a user's code."""
