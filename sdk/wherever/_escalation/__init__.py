"""When an answer is taken further, and what is promised of those that are not. Pure."""
