"""Train an open_clip image-text model on faces that share few labels.

CLIP's loss takes every other text of a batch for a wrong one. Here many faces of a batch share a
label, so the loss compares each face with one wording a label, and each wording with all faces of
its label (supervised contrastive learning, Khosla et al. 2020, across modalities).
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from operators.training.faces import anonymize_some, augment, epoch_order

MAX_LOG_SCALE = math.log(100)
#: exp(logit_scale) of a fresh open_clip model.
START_SCALE = 1 / 0.07


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what training gives, except the data.

    The first `small_until` of the epochs see faces of `small_px`: half the time for coarse
    features. From `memory_from` on, what the model said of a face in earlier epochs makes up
    `memory_weight` of its target, so that wrong labels lose weight (temporal ensembling, Laine
    and Aila 2017). Given an earlier model as teacher, what that one says of a face is
    `teacher_weight` of its target from the start, and no memory is kept (born-again networks,
    Furlanello et al. 2018). A batch in `mixup_share` is mixed with itself (mixup, Zhang et al.
    2018). `anonymized_share` of the faces go through the registered anonymizers.
    """

    epochs: int = 72
    batch_size: int = 128
    learning_rate: float = 3e-3
    text_learning_rate: float = 5e-4
    weight_decay: float = 0.05
    warmup: float = 0.08
    augmentation: float = 0.75
    small_px: int = 32
    small_until: float = 0.4
    label_smoothing: float = 0.1
    text_to_image: float = 0.1
    wordings_per_step: int = 2
    text_steps: int = 300
    unknown_word_share: float = 0.08
    memory_weight: float = 0.35
    memory_from: float = 0.45
    memory_decay: float = 0.7
    teacher_weight: float = 0.5
    mixup_share: float = 0.4
    mixup_alpha: float = 0.4
    anonymized_share: float = 0.08
    ema_decay: float = 0.998
    seed: int = 0


class TrainedVocabulary(nn.Module):
    """A token table that learns only the words that occur, and one row for all others.

    CLIP's table has 49,408 rows, of which a few hundred occur here. Replacing rare words by the
    shared row in training makes prompts with words never seen behave like prompts without them.
    """

    def __init__(self, table: nn.Embedding, used_ids: torch.Tensor) -> None:
        super().__init__()
        vocabulary, width = table.weight.shape
        self.rows = nn.Embedding(len(used_ids) + 1, width)
        with torch.no_grad():
            self.rows.weight[0] = table.weight.mean(0)
            self.rows.weight[1:] = table.weight[used_ids]
        lookup = torch.zeros(vocabulary, dtype=torch.int64)
        lookup[used_ids] = torch.arange(1, len(used_ids) + 1)
        self.lookup = nn.Buffer(lookup)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.rows(self.lookup[tokens])

    def full_table(self) -> torch.Tensor:
        """The table in open_clip's layout: (49408, W)."""
        return self.rows.weight.detach()[self.lookup]


def soft_labels(
    labels: torch.Tensor, smoothing: float, memory: torch.Tensor, weight: float
) -> torch.Tensor:
    """Targets `(B, L)` of faces: `weight` parts of `memory`, the rest the smoothed label.

    `labels` is (B,) int64; `memory` (B, L) is what the model said of these faces before.
    """
    count = memory.shape[-1]
    target = torch.full_like(memory, smoothing / count)
    target.scatter_(1, labels.view(-1, 1), 1 - smoothing + smoothing / count)
    return (1 - weight) * target + weight * memory


def image_to_text_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of faces over one wording a label, against `target` (B, L).

    `logits` is (B, K, L), K draws of one wording for each of L labels.
    """
    return -(target.unsqueeze(1) * logits.log_softmax(-1)).sum(-1).mean()


def text_to_image_loss(logits: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of wordings over the faces of a batch; all faces of its label are right.

    `logits` is (B, K, L); `share` (B, L) says how much of a face is of a label. Labels without a
    face in the batch do not count.
    """
    total = share.sum(0)
    present = total > 0
    target = share / torch.where(present, total, 1)
    per_text = -(target.unsqueeze(1) * logits.log_softmax(0)).sum(0)
    return per_text[:, present].mean() / math.log(max(2, len(share)))


class ContrastiveTrainer:
    """Image tower, text tower and everything that an interrupted training needs to go on.

    `wordings` holds the texts of each label, in label order. One seed decides all; two trainers
    with the same seed and data are equal, also when one was saved and restored in between.
    `taught` (N, L) holds what a teacher says of each face, as probabilities.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Callable[[list[str]], torch.Tensor],
        wordings: Sequence[Sequence[str]],
        faces: np.ndarray,
        labels: np.ndarray,
        mean_std: tuple[float, float],
        recipe: Recipe,
        device: str = "cpu",
        taught: np.ndarray | None = None,
    ) -> None:
        self.recipe, self.device = recipe, torch.device(device)
        self.mean, self.std = mean_std
        self.faces = torch.from_numpy(faces)
        self.labels_np = labels.astype(np.int64)
        self.labels = torch.from_numpy(self.labels_np)
        self.tokens = [tokenizer(list(texts)) for texts in wordings]
        used = torch.unique(torch.cat([tokens.flatten() for tokens in self.tokens]))
        self.special_ids = {0, int(used.max()), int(used.max()) - 1}
        free = torch.ones(model.token_embedding.weight.shape[0], dtype=torch.bool)  # type: ignore
        free[used] = False
        self.unknown_id = int(torch.nonzero(free)[0])
        model.token_embedding = TrainedVocabulary(model.token_embedding, used)  # type: ignore
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.taught = taught is not None
        self.memory = (
            torch.full((len(labels), len(wordings)), 1 / len(wordings))
            if taught is None
            else torch.from_numpy(taught.astype(np.float32))
        )
        self.rng = torch.Generator().manual_seed(recipe.seed)
        self.epoch, self.step = 0, 0
        steps = math.ceil(len(epoch_order(self.labels_np, torch.Generator())) / recipe.batch_size)
        self.steps_per_epoch = steps
        self.optimizer = torch.optim.AdamW(self._groups(), weight_decay=recipe.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=[group["lr"] for group in self.optimizer.param_groups],
            total_steps=steps * recipe.epochs + 1,
            pct_start=recipe.warmup,
            div_factor=20,
            final_div_factor=500,
        )

    def run_epoch(self, progress: Callable[[int, int, float], None] | None = None) -> float:
        """Train one epoch; returns the mean loss. `progress(step, steps, loss)` is called."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed * 1_000_003 + self.epoch)  # for dropout
        if self.epoch == 0:
            self._separate_texts()
        order = epoch_order(self.labels_np, self.rng)
        weight = self._memory_weight()
        self.model.train()
        total = 0.0
        for step in range(self.steps_per_epoch):
            rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            total += self._step(rows, weight)
            if progress is not None:
                progress(step + 1, self.steps_per_epoch, total / (step + 1))
        self.epoch += 1
        return total / self.steps_per_epoch

    def _memory_weight(self) -> float:
        recipe = self.recipe
        if self.taught:
            return recipe.teacher_weight
        return recipe.memory_weight if self.epoch >= recipe.memory_from * recipe.epochs else 0.0

    def _separate_texts(self) -> None:
        """Pull the texts of a label together and labels apart, before the first face.

        Fresh text towers give every text nearly the same vector (cosines of 0.99), and faces
        learn next to nothing until they do not. The text tower costs seconds.
        """
        parameters = [p for n, p in self.model.named_parameters() if not n.startswith("visual.")]
        optimizer = torch.optim.AdamW(parameters, lr=1e-3)
        count = len(self.tokens)
        target = (0.9 * torch.eye(count) + 0.1 / count).to(self.device)
        for _ in range(self.recipe.text_steps):
            text = self.model.encode_text(self._draw_wordings(2).to(self.device))  # type: ignore
            one, other = nn.functional.normalize(text.float(), dim=-1).split(count)
            logits = (START_SCALE * one @ other.T).unsqueeze(1)
            loss = image_to_text_loss(logits, target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    def _step(self, rows: torch.Tensor, memory_weight: float) -> float:
        recipe = self.recipe
        small = self.epoch < recipe.small_until * recipe.epochs
        size_px = recipe.small_px if small else self.faces.shape[1]
        ramp = min(1.0, 0.3 + self.epoch / (0.5 * recipe.epochs))
        faces = anonymize_some(self.faces[rows], recipe.anonymized_share, self.rng)
        faces = augment(faces, size_px, ramp * recipe.augmentation, self.rng)
        target = soft_labels(
            self.labels[rows], recipe.label_smoothing, self.memory[rows], memory_weight
        )
        share = nn.functional.one_hot(self.labels[rows], len(self.tokens)).float()
        mixed = float(torch.rand(1, generator=self.rng)) < recipe.mixup_share
        if mixed:
            faces, target, share = self._mix(faces, target, share)
        images = ((faces - self.mean) / self.std).unsqueeze(1).expand(-1, 3, -1, -1)
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        tokens = self._draw_wordings(recipe.wordings_per_step).to(self.device)
        target, share = target.to(self.device), share.to(self.device)
        loss, logits = self._backward(images, tokens, target, share)
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=MAX_LOG_SCALE)  # type: ignore[operator]
            if not (mixed or self.taught):
                said = logits.softmax(-1).mean(1).cpu()
                self.memory[rows] = self.memory[rows].lerp(said, 1 - recipe.memory_decay)
            self._average()
        self.step += 1
        return float(loss.detach())

    def _backward(
        self,
        images: torch.Tensor,
        tokens: torch.Tensor,
        target: torch.Tensor,
        share: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put fresh gradients on the parameters; returns the loss and the logits `(B, K, L)`."""
        with torch.autocast(self.device.type, torch.bfloat16):
            image = self.model.encode_image(images)  # type: ignore[operator]
            text = self.model.encode_text(tokens)  # type: ignore[operator]
        image = nn.functional.normalize(image.float(), dim=-1)
        text = nn.functional.normalize(text.float(), dim=-1)
        logits = self.model.logit_scale.exp() * image @ text.T  # type: ignore[operator]
        logits = logits.view(len(images), self.recipe.wordings_per_step, len(self.tokens))
        loss = image_to_text_loss(logits, target)
        loss = loss + self.recipe.text_to_image * text_to_image_loss(logits, share)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss, logits

    def _mix(self, *pairs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Blend each tensor with the same shuffle of itself, the first part weighing more."""
        alpha = self.recipe.mixup_alpha
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=self.rng)))
            part = float(torch.distributions.Beta(alpha, alpha).sample())
        other = torch.randperm(len(pairs[0]), generator=self.rng)
        return tuple(torch.lerp(x, x[other], min(part, 1 - part)) for x in pairs)

    def _draw_wordings(self, count: int) -> torch.Tensor:
        """`count` wordings a label, some words replaced by the unknown one: (count * L, C)."""
        draws = []
        for _ in range(count):
            for tokens in self.tokens:
                draws.append(tokens[int(torch.randint(len(tokens), (1,), generator=self.rng))])
        tokens = torch.stack(draws)
        hidden = torch.rand(tokens.shape, generator=self.rng) < self.recipe.unknown_word_share
        for special in self.special_ids:
            hidden &= tokens != special
        return torch.where(hidden, self.unknown_id, tokens)

    def _average(self) -> None:
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        ours, theirs = self.ema.state_dict(), self.model.state_dict()
        for name, value in ours.items():
            if value.is_floating_point():
                value.lerp_(theirs[name], 1 - decay)
            else:
                value.copy_(theirs[name])

    def _groups(self) -> list[dict[str, Any]]:
        """No weight decay on vectors; the text tower learns more slowly."""
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            fast = name.startswith("visual.") or name == "logit_scale"
            key = (fast, parameter.ndim > 1 and "embedding" not in name)
            groups.setdefault(key, []).append(parameter)
        rates = {True: self.recipe.learning_rate, False: self.recipe.text_learning_rate}
        return [
            {"params": members, "lr": rates[fast]} | ({} if decays else {"weight_decay": 0.0})
            for (fast, decays), members in groups.items()
        ]

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs: tensors and numbers only."""
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "memory": self.memory,
            "rng": self.rng.get_state(),
            "epoch": self.epoch,
            "step": self.step,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.memory = state["memory"].clone()
        self.rng.set_state(state["rng"])
        self.epoch, self.step = int(state["epoch"]), int(state["step"])

    def export(self) -> dict[str, torch.Tensor]:
        """The averaged model in open_clip's layout: weights fp16, running statistics fp32."""
        tensors: dict[str, torch.Tensor] = {}
        for name, value in self.ema.state_dict().items():
            if name.startswith("token_embedding."):
                continue
            exact = "running_" in name or name == "logit_scale" or not value.is_floating_point()
            tensors[name] = (
                value.detach().cpu().contiguous().to(value.dtype if exact else torch.half)
            )
        vocabulary: TrainedVocabulary = self.ema.token_embedding  # type: ignore[assignment]
        tensors["token_embedding.weight"] = vocabulary.full_table().cpu().half().contiguous()
        return tensors


def open_clip_config(trunk: str, size_px: int, mean_std: tuple[float, float]) -> dict[str, Any]:
    """The configuration of a `mien-lite`: at 128 text columns it stays below 25 MB in fp16."""
    mean, std = mean_std
    return {
        "model_cfg": {
            "embed_dim": 256,
            "vision_cfg": {
                "timm_model_name": trunk,
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "linear",
                "timm_drop": 0.25,
                "timm_drop_path": 0.1,
                "image_size": size_px,
            },
            "text_cfg": {
                "context_length": 48,
                "vocab_size": 49408,
                "width": 128,
                "heads": 4,
                "layers": 3,
            },
        },
        "preprocess_cfg": {
            "size": size_px,
            "mean": [mean] * 3,
            "std": [std] * 3,
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }
