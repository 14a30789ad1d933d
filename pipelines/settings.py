"""What a run rests on: every name looked up and every hash made before any work starts."""

import hashlib
import json
from dataclasses import dataclass, field

from pydantic import BaseModel

from infra.errors import ConfigurationError
from operators.anonymize import resolved
from operators.backbone import BackboneInfo, backbone_info
from operators.core.detect import weights_sha256
from operators.methods.artifact import Artifact
from operators.methods.identity_projection import IDENTITY_PROJECTION
from operators.methods.registry import MethodEntry, MethodSpec, Reads, method
from operators.score import Chosen
from pipelines.artifacts import open_artifact
from schemas.config import Config

#: Raise it when an operator gives other faces or scores for equal input and configuration.
OPERATOR_VERSION = 1


@dataclass(frozen=True)
class Settings:
    """A configuration whose names exist, with the two hashes and the crop size that follow."""

    cfg: Config
    crop_px: int
    extract_hash: str
    backbone: BackboneInfo
    chosen: tuple[Chosen, ...]
    embed_hash: str
    projection: Artifact | None = field(default=None, compare=False, repr=False)

    @property
    def scored_by(self) -> list[str]:
        """`method:score_hash` of every chosen method, as `videos.scored_by` holds them."""
        return sorted(f"{item.spec.name}:{item.score_hash}" for item in self.chosen)

    @property
    def run_hash(self) -> str:
        """Two runs with one hash write the same rows: one may continue the other."""
        return digest(self.extract_hash, self.scored_by)

    @property
    def notes(self) -> list[str]:
        """What an operator should know before the run."""
        found = []
        seen = min(self.crop_px, _anonymized_px(self.cfg, self.crop_px))
        if seen < self.backbone.image_size_px:
            found.append(
                f"{self.backbone.name} was trained on {self.backbone.image_size_px} px and gets "
                f"{seen} px: choose another privacy.anonymizer or a smaller embed.backbone"
            )
        entry, strength = resolved(self.cfg.privacy)
        for item in self.chosen:
            card = item.artifact.card if item.artifact else {}
            fitted = card.get("data", {}).get("anonymizer")
            if fitted and fitted != {"name": entry.name, "strength": strength}:
                found.append(
                    f"{item.spec.name} was fitted on crops made safe by {fitted['name']} "
                    f"{fitted['strength']:g}, and this run uses {entry.name} {strength:g}"
                )
        return found


def resolve_settings(cfg: Config) -> Settings:
    """Look up anonymizer, backbone and methods; hash what results depend on.

    Raises `ConfigurationError` that lists the known names where one is unknown.
    """
    specs, entries = known_methods(cfg)
    try:
        entry, strength = resolved(cfg.privacy)
        backbone = backbone_info(cfg.embed.backbone)
        artifacts = [_artifact(spec, cfg, backbone) for spec in specs]
        projection = _projection(cfg, backbone)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    crop_px = backbone.image_size_px if cfg.extract.crop_px == "auto" else cfg.extract.crop_px
    protection = cfg.embed.protection
    embed_hash = digest(backbone.sha256, protection, projection and projection.sha256)
    extract_hash = digest(
        OPERATOR_VERSION,
        cfg.plan.segment_seconds,
        cfg.extract.model_dump(mode="json", exclude={"actors", "crop_px"}),
        crop_px,
        [entry.name, strength, *([entry.fingerprint()] if entry.fingerprint else [])],
        weights_sha256(),
        *([] if protection == "drop" else [embed_hash]),  # other vectors are another scoring
    )
    chosen = tuple(
        Chosen(
            spec,
            digest(
                extract_hash,
                backbone.sha256,
                spec.name,
                artifact and artifact.sha256,
                cfg.score.abstain_below,
                _plain(item.section(cfg.score)),
            ),
            artifact,
        )
        for spec, item, artifact in zip(specs, entries, artifacts, strict=True)
    )
    return Settings(cfg, crop_px, extract_hash, backbone, chosen, embed_hash, projection)


def known_methods(cfg: Config) -> tuple[list[MethodSpec], list[MethodEntry]]:
    """The methods of a run, with their entries: what can be checked before any file is opened.

    Raises `ConfigurationError` for one of them, or for the anonymizer.
    """
    specs = [MethodSpec.parse(text) for text in cfg.score.methods]
    try:
        resolved(cfg.privacy)
        entries = [method(spec) for spec in specs]
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    if len({spec.name for spec in specs}) < len(specs):
        raise ConfigurationError("score.methods names a method twice")
    if not specs:
        raise ConfigurationError("score.methods is empty: name at least one method")
    for item in entries:
        if item.reads not in (Reads.EMBEDDINGS, Reads.CROPS):
            raise ConfigurationError(
                f"score.methods: {item.name} reads {item.reads}, which this version does not stage"
            )
    return specs, entries


def _artifact(spec: MethodSpec, cfg: Config, backbone: BackboneInfo) -> Artifact | None:
    if spec.artifact is None:
        return None
    artifact = open_artifact(spec.artifact, cfg)
    artifact.require(spec.name, backbone)
    return artifact


def _projection(cfg: Config, backbone: BackboneInfo) -> Artifact | None:
    if cfg.embed.projection is None:
        return None
    artifact = open_artifact(cfg.embed.projection, cfg)
    artifact.require(IDENTITY_PROJECTION.name, backbone)
    return artifact


def digest(*parts: object) -> str:
    """First 64 bits, in hex, of the sha256 of the parts as canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(section: object) -> object:
    return section.model_dump(mode="json") if isinstance(section, BaseModel) else section


def _anonymized_px(cfg: Config, crop_px: int) -> int:
    entry, strength = resolved(cfg.privacy)
    return entry.output_px(crop_px, strength)
