"""Runs commands where nothing but loopback is, and says whom they tried to reach.

`unshare -rn python -m tests.loopback HEARD COMMANDS`: COMMANDS is a JSON list of commands, HEARD
the file to write. In this network every address there is leads to loopback, where nobody listens:
names are not resolved, connections are refused, and every packet passes by an ear, whoever sent it,
native code too. Network namespaces cannot be made any more, so that mien's child stays in this one.
"""

import ctypes
import json
import socket
import struct
import subprocess
import sys
import threading
from ipaddress import ip_address
from pathlib import Path

_SETUP = (
    "ip link set lo up",
    "ip route add local 0.0.0.0/0 dev lo src 127.0.0.1",
    "ip -6 route add local ::/0 dev lo src ::1",
)
_NO_MORE_NETWORKS = Path("/proc/sys/user/max_net_namespaces")  # of this user namespace alone
_DNS = 53
_SO_ATTACH_FILTER = 26
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_ALL_PROTOCOLS = 3
#: bpf(2) of old: code, jump if true, jump if false, operand. Keeps what is no IPv4, asks a name
#: server, or goes beyond 127.0.0.0/8: Ray's own traffic would be too much to listen to.
_FILTER = (
    (0x30, 0, 0, 0),  # A = version and header length
    (0x54, 0, 0, 0xF0),
    (0x15, 0, 4, 0x40),  # not IPv4: keep
    (0x28, 0, 0, 22),  # A = port of destination
    (0x15, 2, 0, _DNS),  # keep
    (0x30, 0, 0, 16),  # A = first byte of destination
    (0x15, 1, 0, 127),  # drop
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


class Ear:
    """Hears what is sent in this network namespace; `heard` has destinations, and names asked."""

    def __init__(self) -> None:
        self.heard: set[str] = set()
        self._stop = threading.Event()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        program = b"".join(struct.pack("HBBI", *one) for one in _FILTER)
        kept = ctypes.create_string_buffer(program)
        filter = struct.pack("HL", len(_FILTER), ctypes.addressof(kept))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter)
        self._socket.bind(("lo", _ALL_PROTOCOLS))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        counts = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        if dropped := struct.unpack("II", counts)[1]:
            self.heard.add(f"{dropped} packets that were too many")
        self._socket.close()

    def _listen(self) -> None:
        self._socket.settimeout(0.2)
        while True:
            try:
                said = destination(self._socket.recv(2048))
            except TimeoutError:
                if self._stop.is_set():
                    return
                continue
            if said:
                self.heard.add(said)


def destination(packet: bytes) -> str | None:
    """Where an IP packet goes, or the name that it asks for; None if that is loopback."""
    if packet[0] >> 4 == 4:
        address, rest = ip_address(packet[16:20]), packet[(packet[0] & 15) * 4 :]
    else:
        address, rest = ip_address(packet[24:40]), packet[40:]
    port = struct.unpack("!H", rest[2:4])[0] if len(rest) >= 4 else 0
    if port == _DNS:
        return f"name {_asked(rest[8 + 12 :])}"
    return None if address.is_loopback else f"{address} port {port}"


def _asked(question: bytes) -> str:
    labels = []
    while question and question[0]:
        labels.append(question[1 : question[0] + 1].decode(errors="replace"))
        question = question[question[0] + 1 :]
    return ".".join(labels)


def main(report: str, commands: str) -> int:
    for line in _SETUP:
        subprocess.run(line.split(), check=True)
    _NO_MORE_NETWORKS.write_text("0")
    ear = Ear()
    try:
        codes = [subprocess.run(command).returncode for command in json.loads(commands)]
    finally:
        ear.close()
    Path(report).write_text(json.dumps({"codes": codes, "heard": sorted(ear.heard)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
