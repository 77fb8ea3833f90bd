"""What recorded calls would have cost under another policy, on a virtual clock."""
