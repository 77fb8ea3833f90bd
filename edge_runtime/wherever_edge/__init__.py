"""The runtime of device, box and gateway: engines, pipelines, packages, hosts, protocol."""
