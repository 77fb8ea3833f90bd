"""Edge boxes: machines of a site that answer for the devices around them."""
