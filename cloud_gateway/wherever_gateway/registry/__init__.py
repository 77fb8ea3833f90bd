"""The registry: packages and channels, signed, as plain files that any HTTP server can serve."""
