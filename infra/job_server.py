"""The job server of a Ray cluster: who asks it with which token, and for how long."""

import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from infra.errors import ConfigurationError, Resumable
from infra.tracking import without_password

#: Ray lets an address that is given be overruled by these, and an option should win.
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_FIRST_ANSWER_SECONDS = (4.0, 4.0)  # to connect, to answer: together below 10 s
_ANSWER_SECONDS = (4.0, 60.0)
# Packages uploaded, sockets closed, files called very large: no news to who submits.
for _name in (
    "ray.dashboard.modules.job.sdk",
    "ray.dashboard.modules.dashboard_sdk",
    "ray._private.runtime_env.packaging",
):
    logging.getLogger(_name).setLevel(logging.ERROR)


class Client(JobSubmissionClient):
    """Ray's client, made to give up on a head that is silent; Ray's own waits for ever."""

    limits = _FIRST_ANSWER_SECONDS

    def _do_request(
        self,
        method: str,
        endpoint: str,
        *,
        data: bytes | None = None,
        json_data: dict | None = None,
        **kwargs: Any,
    ) -> requests.Response:
        kwargs.setdefault("timeout", self.limits)
        return super()._do_request(method, endpoint, data=data, json_data=json_data, **kwargs)


def connect(address: str) -> Client:
    """The cluster's job server at `address`, as http://HEAD:8265. Takes 10 s at most.

    Raises:
        ConfigurationError: It refuses the token, or is no Ray dashboard.
        Resumable: It does not answer.
    """
    place = urlsplit(address)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise ConfigurationError(
            f"{address!r} is no dashboard address: write http://HEAD:8265, or https://..."
        )
    for name in _ADDRESS_VARIABLES:
        os.environ.pop(name, None)
    token, where = _token()
    shown = without_password(address)
    try:
        client = Client(address, headers={"Authorization": f"Bearer {token}"} if token else None)
    except AuthenticationError:
        raise ConfigurationError(_refused(shown, where)) from None
    except (RuntimeError, LookupError, requests.exceptions.JSONDecodeError):
        raise ConfigurationError(f"what answers at {shown} is no Ray dashboard") from None
    except OSError:
        raise Resumable(
            f"no answer from {shown}: is the head up, is this its dashboard's address, and may "
            "this machine reach it?"
        ) from None
    client.limits = _ANSWER_SECONDS
    return client


def _token() -> tuple[str | None, str]:
    """The token that Ray's own tools would send, and where it was found."""
    mode = os.environ.get("RAY_AUTH_MODE", "token").lower()
    if mode != "token":
        return None, f"RAY_AUTH_MODE={mode}"  # `disabled`, or one that Ray's client sees to
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return _checked(token, "RAY_AUTH_TOKEN")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        return _checked(path.read_text(encoding="utf-8").strip(), str(path))
    except FileNotFoundError:
        if named:
            raise ConfigurationError(f"RAY_AUTH_TOKEN_PATH: no such file: {path}") from None
        return None, ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: the token cannot be read: {error}") from None


def _checked(token: str, where: str) -> tuple[str, str]:
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigurationError(f"{where} holds no token")
    return token, where


def _refused(address: str, where: str) -> str:
    if where.startswith("RAY_AUTH_MODE"):
        return f"{address} asks for a token, and {where} sends none: unset it"
    if where:
        return f"{address} refused the token from {where}: it needs the token of that cluster"
    return (
        f"{address} asks for a token and none was found: set RAY_AUTH_TOKEN or "
        "RAY_AUTH_TOKEN_PATH, or put it into ~/.ray/auth_token"
    )
