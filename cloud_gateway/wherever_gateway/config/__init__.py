"""What an operator writes down about a gateway: `gateway.toml`, read, judged and explained."""
