"""An attacker on the site: false adverts, hosts behind them, and a look at what reaches those.

    python box_flood.py ADDRESS INTERFACE PAIRED_ID

Each line of standard input asks for so many false adverts: {"strangers": N, "claiming": M}, of
boxes that nobody paired with and of the paired box itself. What was received is reported after
each: connections and bytes at the strangers' port, and what was decrypted at the other.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from time import sleep

from zeroconf import ServiceInfo, Zeroconf

from wherever_edge.box.adverts import SERVICE, Advert
from wherever_edge.oip.certificates import make_identity

MDNS = ("224.0.0.251", 5353)
ETH_P_IP = 0x0800
TCP = 6


class Wire(threading.Thread):
    """Counts the bytes of TCP, without headers, that arrive at each port of an interface."""

    def __init__(self, interface: str) -> None:
        super().__init__(daemon=True)
        self.bytes_at: Counter[int] = Counter()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self._socket.bind((interface, ETH_P_IP))

    def run(self) -> None:
        while True:
            packet, source = self._socket.recvfrom(65536)
            if source[2] == socket.PACKET_OUTGOING or packet[9] != TCP:
                continue
            tcp = (packet[0] & 0x0F) * 4
            payload = int.from_bytes(packet[2:4]) - tcp - (packet[tcp + 12] >> 4) * 4
            self.bytes_at[int.from_bytes(packet[tcp + 2 : tcp + 4])] += payload


class Host(threading.Thread):
    """Accepts everybody; speaks TLS with a certificate of its own when it is given one."""

    def __init__(self, address: str, context: ssl.SSLContext | None) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_server((address, 0))
        self._context = context
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        self.received = b""

    def run(self) -> None:
        while True:
            plain, _ = self._socket.accept()
            self.connections += 1
            plain.settimeout(2)
            try:
                if self._context is None:
                    self.received += plain.recv(65536)
                else:
                    with self._context.wrap_socket(plain, server_side=True) as secure:
                        self.received += secure.recv(65536)
            except OSError:
                plain.close()


def another_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made = make_identity([])
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "made.pem")
        file.write_bytes(made.certificate_pem + made.key_pem)
        context.load_cert_chain(file)
    context.set_alpn_protocols(["h2"])
    return context


def packets(zeroconf: Zeroconf, advert: Advert, instance: str) -> list[bytes]:
    info = ServiceInfo(
        SERVICE,
        instance,
        port=advert.port,
        properties=advert.txt,
        server=f"{instance.partition('.')[0]}.local.",
        parsed_addresses=list(advert.addresses),
    )
    return zeroconf.generate_service_broadcast(info, 4500).packets()


def main() -> None:
    address, interface, paired_id = sys.argv[1:]
    wire = Wire(interface)
    stranger, claiming = Host(address, None), Host(address, another_certificate())
    for thread in (wire, stranger, claiming):
        thread.start()
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sender.bind((address, MDNS[1]))
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    zeroconf = Zeroconf(interfaces=[address])
    draw = random.Random(1)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        adverts = [
            Advert(f"{draw.getrandbits(64):016x}", "back-office", (address,), stranger.port)
            for _ in range(wanted["strangers"])
        ] + [
            Advert(paired_id, f"liar-{draw.getrandbits(32):08x}", (address,), claiming.port)
            for _ in range(wanted["claiming"])
        ]
        draw.shuffle(adverts)
        for advert in adverts:
            for packet in packets(zeroconf, advert, advert.instance):
                sender.sendto(packet, MDNS)
            sleep(wanted.get("pause_s", 0.002))
        report = {
            "stranger": [stranger.connections, wire.bytes_at[stranger.port]],
            "claiming": [claiming.connections, wire.bytes_at[claiming.port]],
            "decrypted": len(stranger.received) + len(claiming.received),
        }
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
