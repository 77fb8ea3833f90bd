"""What may leave this device: the guard before the sockets, and the rules that release data."""
