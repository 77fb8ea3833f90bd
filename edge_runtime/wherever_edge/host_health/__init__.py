"""What is known of a host at a distance, and whether a call may be sent to it now. Pure."""
