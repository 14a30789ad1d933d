"""A real S3 server on loopback: SeaweedFS, whose one binary a package ships."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import s3fs

BUCKET = "mien"
_START_SECONDS = 60


@dataclass
class S3Server:
    """A running server. `environment` is what an AWS client needs to find it and to be let in."""

    folder: Path
    port: int
    environment: dict[str, str]
    process: subprocess.Popen = field(init=False)

    def url(self, prefix: str = "") -> str:
        """The address of a prefix that nobody uses yet."""
        return f"s3://{BUCKET}/{prefix or secrets.token_hex(6)}"

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """It refuses connections; what was acknowledged stays on its disk."""
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Start, again after `kill` too, on the same port and data; returns when it answers."""
        ports = ["-master.port", "-volume.port", "-filer.port"]
        free = [argument for name in ports for argument in (name, str(_free_port()))]
        command = [
            str(Path(sys.executable).with_name("weed")),
            *("-logtostderr=true", "-v=-1", "server", "-s3", f"-dir={self.folder}/data"),
            *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.port", str(self.port)),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"),
            *(f"-s3.config={self.folder}/identities.json", "-master.telemetry=false"),
            *("-volume.max=50", "-master.volumeSizeLimitMB=256", "-master.volumePreallocate=false"),
            *free,
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                fs = self.client()
                if not fs.exists(BUCKET):
                    fs.mkdir(BUCKET)
                fs.pipe_file(f"{BUCKET}/.ready", b"yes")
                return
            except Exception as error:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.kill()
                    raise RuntimeError(f"SeaweedFS did not start: {self.folder}/log") from error
                time.sleep(0.2)

    def client(self) -> s3fs.S3FileSystem:
        """A client of this server, whatever the environment says."""
        return s3fs.S3FileSystem(
            key=self.environment["AWS_ACCESS_KEY_ID"],
            secret=self.environment["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            use_listings_cache=False,
            skip_instance_cache=True,
        )


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a server with its data in `folder` for the length of the block."""
    key, secret, port = secrets.token_hex(8), secrets.token_hex(16), _free_port()
    (folder / "data").mkdir(parents=True, exist_ok=True)
    identity = {
        "name": "mien",
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    environment = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server = S3Server(folder, port, environment)
    server.start()
    try:
        yield server
    finally:
        server.go_on()
        server.kill()


def _free_port() -> int:
    """A free port of which the one 10,000 higher is free too: SeaweedFS adds its gRPC there."""
    while True:
        port = 20000 + secrets.randbelow(12000)
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", port))
            two.bind(("127.0.0.1", port + 10000))
            return port


if __name__ == "__main__":  # for trying by hand: `python -m tests.s3 DIR`
    with s3_server(Path(sys.argv[1])) as running:
        lines = [f"export {name}={value}" for name, value in running.environment.items()]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            os.waitpid(running.process.pid, 0)
