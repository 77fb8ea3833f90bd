"""A bare grpcio server that gives back the bytes it gets; prints its address."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc

OPTIONS = [("grpc.max_receive_message_length", 1 << 26), ("grpc.max_send_message_length", 1 << 26)]


def main() -> None:
    """Serve until killed."""
    server = grpc.server(ThreadPoolExecutor(4), options=OPTIONS)
    echo: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
        lambda request, context: request
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bare.Echo", {"Echo": echo}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
