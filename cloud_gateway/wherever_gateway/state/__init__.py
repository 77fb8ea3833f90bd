"""What a gateway keeps across restarts: usage, and answers for calls that come again."""
