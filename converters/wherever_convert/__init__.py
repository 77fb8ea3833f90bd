"""Making packages from what frameworks give."""
