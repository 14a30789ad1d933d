"""The one configuration: every key, its default and its meaning. Nothing else holds a default."""

from datetime import time
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the configuration: read-only, and no key that is not declared."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class StageResources(Section):
    """What each actor of a stage takes of its node, and which nodes it may run on."""

    cpus: Positive | None = None
    """CPUs; by default decoding shares out what there is, an encoder takes a quarter of one."""
    gpus: Positive | None = None
    """GPUs: 0.5 lets two actors share one; above 1 a whole number. By default one for each encoder
    if there are any."""
    nodes: dict[str, str] = {}
    """Labels that its nodes must have, as in `ray start --labels role=decode`; none: any node."""

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and value != int(value):
            raise ValueError("above 1 it must be a whole number")
        return value


class Resources(Section):
    """Where decoding and encoding run on a cluster of different nodes."""

    extract: StageResources = StageResources()
    """Decoding: usually the nodes without GPUs."""
    embed: StageResources = StageResources()
    """The image-text encoder: usually the nodes with GPUs."""


class Cluster(Section):
    """Where the run executes. Never part of a hash."""

    address: str = "local"
    """`local` starts Ray here; `auto` joins the cluster of this machine; or a Ray address."""
    num_cpus: Annotated[int, Field(ge=1)] | None = None
    """Cores for a local Ray; by default all of the machine's, and at least two."""
    object_store_mib: Annotated[int, Field(ge=100)] = 512
    """Shared memory for a local Ray. Crops wait there, anonymized."""
    resources: Resources = Resources()
    """What each actor takes, and on which nodes it runs."""


class Plan(Section):
    """Which videos, and into which segments they are cut."""

    segment_seconds: Annotated[float, Field(ge=1, le=86400)] = 60
    """Length of a segment: the unit of work, retry and commit."""
    include: tuple[str, ...] = ()
    """Glob patterns on the path below the source; when given, only what matches is read."""
    exclude: tuple[str, ...] = ()
    """Glob patterns on the path below the source that are skipped."""
    min_age_seconds: Annotated[float, Field(ge=0)] = 0
    """Files changed more recently are left for the next run: they may still be written."""


class Extract(Section):
    """Decode, detect, align."""

    frames_per_second: Positive | Literal["all"] = 4.0
    """Frames to score each second of video, or `all`. Tracks are linked on 8 or more."""
    crop_px: Annotated[int, Field(ge=16, le=1024)] | Literal["auto"] = "auto"
    """Side of an aligned crop; `auto` is the largest input among backbone and methods."""
    max_faces_per_frame: Annotated[int, Field(ge=1, le=1000)] = 32
    """Faces kept on one frame, largest detection score first; the excess is counted."""
    detector_px: Annotated[int, Field(ge=128, le=4096)] = 480
    """Long side of the frame that the detector sees. Count on faces of 32 px there: at 480 that
    is 43 px of a frame 640 px wide, 128 px of one 1920 px wide. Raise it for small faces; time
    grows with its square."""
    detector_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Detections below this score are no faces."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What runs the detector."""
    actors: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Decoding processes; `auto` fills the cluster's CPUs. Never part of a hash."""


class Anonymizer(Section):
    """What makes a crop safe before anything else reads it."""

    name: str = "downsample"
    """An entry of the anonymizer registry: `mien methods` lists them."""
    strength: Positive | None = None
    """Its one number, in the unit its entry names; by default the entry's own."""


class Privacy(Section):
    """What happens to a face before it leaves the process that decoded it."""

    anonymizer: Anonymizer = Anonymizer()
    """`{name: ..., strength: ...}`; a string is shorthand for the name."""
    strict: bool = True
    """Refuse to start where a raw pixel could reach a disk."""

    @model_validator(mode="before")
    @classmethod
    def _name_is_shorthand(cls, value: object) -> object:
        if isinstance(value, dict) and isinstance(value.get("anonymizer"), str):
            return {**value, "anonymizer": {"name": value["anonymizer"]}}
        return value


class Redact(Section):
    """Copies of videos without faces: `mien redact`."""

    style: Literal["solid", "pixelate", "blur"] = "solid"
    """How a face is covered. Only solid leaves nothing of it."""
    shape: Literal["box", "ellipse"] = "box"
    """What covers it: the box, or the ellipse inside the box."""
    strength: Positive | None = None
    """Cells across a mask (pixelate, by default 5), or sigma in percent of its longer side (blur,
    by default 20)."""
    margin: Annotated[float, Field(ge=0, le=2)] = 0.25
    """How far a mask reaches beyond the face, on each side, as a share of the face's."""
    detector_px: Annotated[int, Field(ge=128, le=4096)] = 960
    """Long side of what the detector sees of larger frames; smaller ones it sees as they are. Count
    on faces of 32 px there."""
    detect_every: Annotated[int, Field(ge=1, le=8)] = 4
    """The detector looks at every so many frames first, half as often where a face stays in place;
    tracks cover those between. The copy is looked through frame by frame whatever this is."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Detections of this score are covered."""
    verify_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Detections of this score in the copy are faces that are left."""
    gap_seconds: Annotated[float, Field(ge=0, le=60)] = 1.0
    """A track that is lost for no longer is covered in between."""
    extend_seconds: Annotated[float, Field(ge=0, le=60)] = 0.4
    """A track is covered for so long before it is found and after it is lost."""
    rounds: Annotated[int, Field(ge=1, le=10)] = 4
    """Copies that are made at most of a video, until no face is found in one."""
    second_every_seconds: Positive = 10.0
    """How often the second, independent detector looks at source and copy."""
    audio: Literal["keep", "drop", "mask"] = "keep"
    """`mask` leaves how loud it is, each half second, and nothing else."""
    crf: Annotated[int, Field(ge=0, le=51)] = 20
    """Quality of the picture, as x264 counts: lower is better and larger."""

    @model_validator(mode="after")
    def _verified_more_strictly(self) -> "Redact":
        if self.verify_threshold > self.threshold:
            raise ValueError("verify_threshold must not be above threshold")
        return self


class Embed(Section):
    """The frozen image-text encoder."""

    backbone: str = "mien-lite"
    """`mien-lite`, an open_clip name as `model/pretrained`, or a local folder."""
    actors: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Encoder processes; `auto` is one a GPU, or one without. Never part of a hash."""
    batch_crops: Annotated[int, Field(ge=1, le=8192)] = 64
    """Crops in the one padded batch shape that the tower runs at."""
    protection: Literal["drop", "projected", "raw"] = "drop"
    """What stays of each face's vector in the table `embeddings`: nothing, what a projection
    leaves, or all. By either of the latter people can be told apart."""
    projection: str | None = None
    """For `projected`: the folder that `mien fit identity_projection` wrote, or a model of MLflow's
    registry, `models:/name@alias`."""

    @model_validator(mode="after")
    def _projected_by_something(self) -> "Embed":
        if (self.protection == "projected") != (self.projection is not None):
            raise ValueError(
                "protection=projected and projection=PATH go together: `mien fit "
                "identity_projection` makes one"
            )
        return self


class ZeroShot(Section):
    """Plain class prompts, the baseline."""

    prompts: dict[str, tuple[str, ...]] | None = None
    """Prompts a label, averaged; by default the shipped ones."""
    temperature: Positive | None = None
    """Divides the logits; by default the backbone card's calibrated one."""


class Score(Section):
    """The methods that turn faces into labels."""

    methods: tuple[str, ...] = ("zero_shot",)
    """Registered methods, `name` or `name@artifact`: `mien methods` lists them."""
    abstain_below: Fraction = 0.4
    """A face whose confidence is lower is marked `abstained`."""
    zero_shot: ZeroShot = ZeroShot()


class FitExpClip(Section):
    """Exp-CLIP: one projection, learnt from a teacher's vectors."""

    teacher: Literal["auto", "column", "sentence", "image-to-text"] = "auto"
    """Where teacher vectors come from: the data's column `teacher`; a sentence encoder over
    facial-action captions (column `caption`, or written from the labels); or captions that a
    local image-to-text model writes. `auto` takes the column if there is one, else `sentence`."""
    teacher_path: str | None = None
    """Folder of the image-to-text model, in the transformers layout, safetensors."""
    instruction: str = (
        "Describe objectively and in detail which facial actions the face in the picture shows. "
        "Name no emotion."
    )
    """What an image-to-text teacher is asked; recorded with the artifact."""
    prompts: dict[str, tuple[str, ...]] | None = None
    """Prompts a label that the artifact scores with; by default the shipped ones."""
    epochs: Annotated[int, Field(ge=1)] = 40
    batch_size: Annotated[int, Field(ge=2)] = 512
    learning_rate: Positive = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    init: Literal["random", "regression"] = "regression"
    """`random` is the paper's; `regression` starts from the map that predicts teacher vectors."""


class FitIdentityProjection(Section):
    """A projection that removes what tells people apart from a face's vector."""

    removed: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Dimensions that go, fewer than there are people: `auto` is one fewer, at most half of all."""


class Fit(Section):
    """How `mien fit` trains. Never part of a hash: an artifact has its own."""

    seed: int = 0
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the faces that are not trained on: they measure, and calibrate confidences."""
    exp_clip: FitExpClip = FitExpClip()
    identity_projection: FitIdentityProjection = FitIdentityProjection()


class Run(Section):
    """How one invocation behaves. Never part of a hash."""

    max_quarantined: Fraction = 0.05
    """Share of the planned seconds that may be quarantined before nothing more is published."""
    stop_at: time | None = None
    """Local time of day, `HH:MM`, at which the run stops cleanly."""
    grace_seconds: Annotated[float, Field(ge=0)] = 120
    """How long work in flight may go on after a stop is asked for, by a signal or `stop_at`."""
    no_progress_seconds: Annotated[float, Field(ge=10)] = 900
    """Without a finished block for this long, the run stops and says so."""
    segment_timeout_seconds: Positive = 1800
    """Wall time that one segment may take in the child."""
    child_memory_gib: Positive = 4
    """Address space for data that a decoding child may take."""
    wave_segments: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Segments that are scored before what is ready among them is published, beside the next so
    many; `auto` is about 15 minutes of work, by the speed so far."""
    publish_rows: Annotated[int, Field(ge=1)] = 1_000_000
    """Most rows in one part of a table; an eighth of it where vectors are kept."""
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port on which the driver serves Prometheus metrics; null serves none."""
    metrics_host: str = "127.0.0.1"
    """Address that it listens on; `0.0.0.0` lets other machines scrape. There is no password."""

    @field_validator("stop_at", mode="before")
    @classmethod
    def _undo_sexagesimal(cls, value: object) -> object:
        """YAML 1.1 reads 16:00 as the number 960."""
        return "{:02d}:{:02d}".format(*divmod(value, 60)) if isinstance(value, int) else value


class Erase(Section):
    """What `mien erase` and `mien expire` do, and what a run does after them. Never hashed."""

    reader_grace_seconds: Annotated[float, Field(ge=0)] = 600
    """Who began to read before an erasure may go on for so long; then the old files are deleted."""
    rescore_expired: bool = False
    """Score again what `mien expire` removed, from the same file: there is a new ground for it."""


class Governance(Section):
    """Who asks for this, why, and on what ground. Required before anything is scored."""

    controller: Annotated[str, Field(min_length=1)]
    """The organisation that decides why and how faces are processed."""
    operator: Annotated[str, Field(min_length=1)]
    """Who runs the pipeline for the controller."""
    purpose: Literal[
        "research",
        "audience_measurement",
        "user_testing",
        "media_archive",
        "clinical",
        "safety",
        "demonstration",
    ]
    """What the faces are scored for."""
    purpose_statement: str | None = None
    """The purpose in the words of the notice. In Japan it must name the analysis of faces."""
    setting: Literal[
        "laboratory",
        "public_space",
        "online",
        "broadcast",
        "home",
        "clinical",
        "workplace",
        "education",
    ]
    """Where the people were when they were filmed."""
    jurisdiction: Literal["eu", "jp", "other"]
    """Whose rules apply. Where the EU's do, by the people filmed or by the controller, it is eu."""
    legal_basis: Literal[
        "consent",
        "contract",
        "legal_obligation",
        "vital_interests",
        "public_task",
        "legitimate_interests",
    ]
    """The ground on which it is done: GDPR Art. 6(1), or the nearest of it elsewhere."""
    notice_reference: Annotated[str, Field(min_length=1)]
    """Where the people filmed were told: a URL, a document number."""
    retention_days: Annotated[int, Field(ge=1)]
    """After this many days the rows are due for deletion."""
    overseer: Annotated[str, Field(min_length=1)]
    """The person who can stop the processing."""
    special_category_basis: str | None = None
    """The ground for biometric data, as GDPR Art. 9(2)(a): needed where vectors are kept."""
    exception: Literal["medical", "safety"] | None = None
    """Why it may be done at work or in education in the EU."""
    exception_reason: str | None = None
    """That reason in a sentence that an authority can check."""


class Tracking(Section):
    """MLflow. Never part of a hash; out of reach never fails a run."""

    enabled: bool = True
    uri: str | None = None
    """Tracking server; by default a local sqlite file beside the store."""
    experiment: str = "mien"


class Config(Section):
    """A run's whole configuration."""

    source: str | None = None
    """Folder, glob, `s3://` prefix or manifest (.csv, .parquet) of videos."""
    store: str | None = None
    """Folder or `s3://` prefix that holds the results."""
    cluster: Cluster = Cluster()
    plan: Plan = Plan()
    extract: Extract = Extract()
    privacy: Privacy = Privacy()
    redact: Redact = Redact()
    embed: Embed = Embed()
    score: Score = Score()
    fit: Fit = Fit()
    run: Run = Run()
    erase: Erase = Erase()
    governance: Governance | None = None
    tracking: Tracking = Tracking()
