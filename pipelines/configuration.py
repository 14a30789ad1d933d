"""From YAML and `key.sub=value` to one validated configuration."""

import difflib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from infra.errors import ConfigurationError, Refused
from pipelines.gate import SECTION, GateClosed, bad_value
from schemas.config import Config

STDIN = Path("-")


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read `path` (`-` is stdin), apply `overrides`, validate once.

    Raises `ConfigurationError` (exit 2) that names the key, and `Refused` (exit 5) for anything
    in the governance section.
    """
    return config_from(_read(path) if path else {}, overrides)


def config_from(values: dict[str, Any], overrides: Sequence[str] = ()) -> Config:
    """The configuration of `values`, as read from YAML, with `overrides`. Raises as above."""
    for override in overrides:
        _apply(values, override)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _plain(error, values) from None


def source_and_store(cfg: Config) -> tuple[str, str]:
    """Where a run reads and where it writes. Raises `ConfigurationError` where one is missing."""
    if not cfg.source or not cfg.store:
        missing = "source" if not cfg.source else "store"
        raise ConfigurationError(f"no {missing}: name it on the command line or as `{missing}:`")
    return cfg.source, cfg.store


def to_yaml(cfg: Config) -> str:
    """The resolved configuration as YAML: what `mien config` prints and the run records."""
    return yaml.safe_dump(cfg.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(
            sys.stdin.read() if path == STDIN else path.read_text(encoding="utf-8")
        )
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        raise ConfigurationError(f"{path}: not valid YAML: {line}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: expected `key: value` lines at the top level")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigurationError(f"{override!r}: an override is written key.sub=value")
    *parents, name = key.split(".")
    for parent in parents:
        below = values.setdefault(parent, {})
        if not isinstance(below, dict):
            if parent != "anonymizer":
                raise ConfigurationError(f"{key}: {parent} is a value, not a section")
            below = values[parent] = {"name": below}  # its shorthand
        values = below
    try:
        values[name] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigurationError(f"{override!r}: {text!r} is not valid YAML") from None


def _plain(error: ValidationError, values: dict[str, Any]) -> ConfigurationError | Refused:
    """One line of all that is wrong; a refusal where it is all in the governance section."""
    lines: dict[str, str] = {}  # each once, with its key
    for item in error.errors():
        path = [str(part) for part in item["loc"] if not _is_branch(part)]
        key = ".".join(path)
        if item["type"] == "extra_forbidden":
            text = f"unknown key {key}{_suggestion(path)}"
        else:
            text = f"{key}: {item['msg'][:1].lower()}{item['msg'][1:]}"
        lines[text] = key
    if all(key.split(".")[0] == SECTION for key in lines.values()):
        return GateClosed(bad_value(key, text, values) for text, key in lines.items())
    return ConfigurationError("; ".join(lines))


def _is_branch(part: object) -> bool:
    """Pydantic names the branch of a union in the location, as in `constrained-float`."""
    return isinstance(part, str) and ("[" in part or "-" in part or part == "float")


def _suggestion(path: list[str]) -> str:
    model: type[BaseModel] | None = Config
    for part in path[:-1]:
        model = _section(model, part) if model else None
    known = list(model.model_fields) if model else []
    close = difflib.get_close_matches(path[-1], known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {_join(known)}"


def _section(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    info = model.model_fields.get(name)
    kinds: Iterable[Any] = getattr(info.annotation, "__args__", (info.annotation,)) if info else ()
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _join(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
