"""A bench for escalation: whether promises hold, and what they cost in calls taken further."""
