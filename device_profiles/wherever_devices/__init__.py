"""What this machine is, can do, and was measured to do."""
