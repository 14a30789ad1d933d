"""The card of a trained `mien-lite`: what it was made of, what it can do, what it must not do."""

from typing import Any

DATA = {
    "name": "FER2013, official Training split (28,709 faces of 48 x 48 grey pixels)",
    "source": "Goodfellow et al. 2013, Challenges in Representation Learning, arXiv 1307.0414",
    "terms": (
        "The images were collected from web searches and published for a research competition. "
        "No clear licence for commercial use is known to us, and we claim none: check your own "
        "case before you rely on this model."
    ),
    "chosen_on": "FER2013, official PublicTest split (3,589 faces); never trained on",
}

LIMITS = [
    "Fear is often taken for sadness or surprise, disgust for anger, sadness for neutral: see "
    "the confusion matrix. Disgust is rare in the data (436 faces), so its figures are uncertain.",
    "Labels of FER2013 are crowd-sourced and partly wrong; people agree with them on about 65 %.",
    "Frontal, posed and strong expressions are over-represented; profile views, weak and mixed "
    "expressions, covered mouths or eyes score worse.",
    "The data says nothing of age, sex, skin colour or country: differences between groups are "
    "unknown and must be expected.",
    "It reads 48 grey pixels: finer facial actions are out of its reach. Its text tower knows a "
    "few hundred words about faces; other words act as fillers.",
]

NOT_FOR = [
    "Reading inner states: it scores what a face looks like to annotators, not what is felt.",
    "Any decision about a person (work, school, credit, policing, borders, health, insurance).",
    "Identifying people, or inferring personality, honesty, health or protected attributes.",
]


def make_card(
    *,
    sha256: str,
    image_size_px: int,
    temperature: float,
    recipe: dict[str, Any],
    cleaning: dict[str, int],
    public_test: dict[str, Any],
    held_out: dict[str, Any],
) -> dict[str, Any]:
    """Gather the card; `public_test` and `held_out` are what `metrics.summarise` returns."""
    return {
        "name": "mien-lite",
        "kind": "embedded",
        "sha256": sha256,
        "image_size_px": image_size_px,
        "zero_shot_temperature": round(temperature, 4),
        "data": {**DATA, "cleaning": cleaning},
        "recipe": recipe,
        "metrics": {"public_test": public_test, "calibration_split": held_out},
        "limits": LIMITS,
        "not_for": NOT_FOR,
    }


def _teacher(recipe: dict[str, Any]) -> list[str]:
    return [
        "TEACHER is a model that the same command makes without `--teacher`. The one used here was "
        f"made with an earlier, weaker augmentation; its weights begin with "
        f"`{recipe['teacher_sha256'][:12]}`.",
        "",
    ]


def card_markdown(card: dict[str, Any]) -> str:
    """The card as a page."""
    metrics, recipe = card["metrics"]["public_test"], card["recipe"]
    lines = [
        "# mien-lite",
        "",
        "<!-- Written by `python -m pipelines.pretrain`; do not edit. -->",
        "",
        "A small image-text model (open_clip format) that scores *apparent* facial expressions on "
        f"{card['image_size_px']} x {card['image_size_px']} px grey faces. Trained from nothing "
        "against written descriptions; no other weights are in it.",
        "",
        f"Weights sha256: `{card['sha256']}`",
        "",
        "## Measured",
        "",
        f"Zero-shot on FER2013 PublicTest (n = {metrics['n']:,}), with the shipped prompts, as "
        "`mien score` does it:",
        "",
        "| accuracy | UAR | ECE | accuracy on the surest 80 % |",
        "|---|---|---|---|",
        f"| {metrics['accuracy']:.2%} | {metrics['uar']:.2%} | {metrics['ece']:.3f} "
        f"| {metrics['accuracy_surest_80_percent']:.2%} |",
        "",
        "PublicTest chose the recipe and the checkpoint, so these figures flatter a little. The "
        f"temperature ({card['zero_shot_temperature']}) was fitted on "
        f"{card['metrics']['calibration_split']['n']:,} training faces kept out of training.",
        "",
        "Rows are the given label, columns the predicted one:",
        "",
        *_confusion(metrics),
        "",
        *_intervals(metrics),
        "How it does under poor light, blur, noise, compression and covers, on crops made safe by "
        "each anonymizer, and on faces that the pipeline itself found in video: "
        "[robustness](mien-lite-robustness.md).",
        "",
        "## Where it fails",
        "",
        *(f"- {line}" for line in card["limits"]),
        "",
        "## What it must not be used for",
        "",
        *(f"- {line}" for line in card["not_for"]),
        "",
        "## Data and its terms",
        "",
        f"{card['data']['name']}. {card['data']['source']}. {card['data']['terms']}",
        "",
        "Cleaning: " + ", ".join(f"{k.replace('_', ' ')} {v:,}" for k, v in _items(card)) + ".",
        "",
        "## Recipe",
        "",
        f"`{recipe['command']}`",
        "",
        *(_teacher(recipe) if recipe.get("teacher_sha256") else ()),
        "| setting | value |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in recipe.items() if key != "command"),
        "",
    ]
    return "\n".join(lines)


def _intervals(metrics: dict[str, Any]) -> list[str]:
    """95 % intervals, where the metrics have them."""
    if "ci95" not in metrics:
        return []
    texts = [f"{key} {low:.1%} to {high:.1%}" for key, (low, high) in metrics["ci95"].items()]
    return ["95 % bootstrap intervals over faces: " + ", ".join(texts) + ".", ""]


def _items(card: dict[str, Any]) -> list[tuple[str, int]]:
    return list(card["data"]["cleaning"].items())


def _confusion(metrics: dict[str, Any]) -> list[str]:
    names = metrics["labels"]
    rows = ["| | " + " | ".join(names) + " | recall |", "|---|" + "---|" * (len(names) + 1)]
    for index, (name, counts) in enumerate(zip(names, metrics["confusion"], strict=True)):
        recall = counts[index] / max(1, sum(counts))
        rows.append(f"| **{name}** | " + " | ".join(map(str, counts)) + f" | {recall:.1%} |")
    return rows
