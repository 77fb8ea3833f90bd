"""Calls written down on this device, to be looked at, judged and run again later."""
