"""What decides where a call runs: pure, with clock, chance and the state of hosts passed in."""
