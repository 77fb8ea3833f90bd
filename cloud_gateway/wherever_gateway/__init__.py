"""The gateway: the same host that devices run, behind gRPC and HTTP."""
