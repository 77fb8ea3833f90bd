"""Model packages on disk: what is right about one, where they are found, and their archives."""
