"""What faces are compared with: written descriptions of apparent expressions.

`CLASS_PROMPTS` scores; `TRAINING_WORDINGS` and `compose_wording` teach `mien-lite` to read. The
facial actions are those that the Facial Action Coding System's manual and the literature on
prototypes name for each label; every text describes what a face shows, never what a person feels.
"""

import random

from schemas.tables import LABELS

#: The prompts a label is scored with: their unit vectors are averaged, and the mean normalised.
CLASS_PROMPTS: dict[str, tuple[str, ...]] = {
    "anger": (
        "a photo of a face with an expression of anger",
        "an angry face",
        "a face with the brows lowered and drawn together, the eyes glaring and the lips pressed",
        "a furious expression with a hard stare and a tight or shouting mouth",
    ),
    "disgust": (
        "a photo of a face with an expression of disgust",
        "a disgusted face",
        "a face with the nose wrinkled and the upper lip raised",
        "a look of revulsion with narrowed eyes and a curled lip",
    ),
    "fear": (
        "a photo of a face with an expression of fear",
        "a fearful face",
        "a face with the brows raised and drawn together, the eyes wide and the lips stretched",
        "a frightened expression with tense raised brows and a tense open mouth",
    ),
    "happiness": (
        "a photo of a face with an expression of happiness",
        "a happy face",
        "a face with the cheeks raised and the lip corners pulled up",
        "a smiling expression with crinkled eyes",
    ),
    "sadness": (
        "a photo of a face with an expression of sadness",
        "a sad face",
        "a face with the inner brows raised and the lip corners pulled down",
        "a sorrowful expression with drooping eyelids and a trembling chin",
    ),
    "surprise": (
        "a photo of a face with an expression of surprise",
        "a surprised face",
        "a face with the brows raised high, the eyes wide open and the jaw dropped",
        "an astonished expression with a wide open mouth",
    ),
    "neutral": (
        "a photo of a face with a neutral expression",
        "a neutral face",
        "a face with relaxed brows, relaxed eyes and closed resting lips",
        "a calm expression without any facial action",
    ),
}

#: Words that stand for a label, as adjectives ("a {} face").
ADJECTIVES: dict[str, tuple[str, ...]] = {
    "anger": ("angry", "furious", "mad", "annoyed", "irritated", "enraged", "outraged", "hostile"),
    "disgust": ("disgusted", "revolted", "repulsed", "nauseated", "sickened", "grossed out"),
    "fear": ("fearful", "afraid", "frightened", "scared", "terrified", "horrified", "anxious"),
    "happiness": ("happy", "smiling", "joyful", "cheerful", "delighted", "laughing", "glad"),
    "sadness": ("sad", "unhappy", "sorrowful", "gloomy", "crying", "depressed", "downcast"),
    "surprise": ("surprised", "astonished", "amazed", "shocked", "startled", "stunned"),
    "neutral": ("neutral", "expressionless", "calm", "relaxed", "emotionless", "blank", "plain"),
}

#: Words that stand for a label, as nouns ("a look of {}").
NOUNS: dict[str, tuple[str, ...]] = {
    "anger": ("anger", "rage", "fury", "annoyance", "irritation", "hostility"),
    "disgust": ("disgust", "revulsion", "repulsion", "distaste", "aversion"),
    "fear": ("fear", "terror", "fright", "panic", "dread", "horror"),
    "happiness": ("happiness", "joy", "delight", "cheerfulness", "amusement", "pleasure"),
    "sadness": ("sadness", "sorrow", "grief", "misery", "unhappiness", "melancholy"),
    "surprise": ("surprise", "astonishment", "amazement", "shock", "wonder"),
    "neutral": ("neutrality", "calm", "no emotion", "rest", "composure", "no expression"),
}

#: Facial actions, grouped by the part of the face: one of a group at a time makes a description.
ACTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "anger": (
        ("brows lowered and drawn together", "a brow lowerer", "furrowed frowning brows"),
        ("glaring eyes", "tightened eyelids", "a hard stare", "raised upper eyelids"),
        ("lips pressed tightly", "a tight mouth", "bared teeth", "a shouting mouth"),
    ),
    "disgust": (
        ("a wrinkled nose", "a nose wrinkler", "wrinkles along the nose"),
        ("narrowed eyes", "lowered brows", "raised cheeks and narrowed eyes"),
        ("a raised upper lip", "a curled lip", "an upper lip raiser", "a grimacing mouth"),
    ),
    "fear": (
        ("brows raised and drawn together", "tense raised brows", "inner and outer brow raisers"),
        ("wide eyes", "raised upper eyelids", "staring wide open eyes"),
        ("lips stretched sideways", "a lip stretcher", "a tense open mouth", "parted tense lips"),
    ),
    "happiness": (
        ("raised cheeks", "a cheek raiser", "lifted round cheeks"),
        ("crinkled eyes", "wrinkles at the eye corners", "smiling eyes"),
        ("lip corners pulled up", "a lip corner puller", "a broad smile", "a smile showing teeth"),
    ),
    "sadness": (
        ("inner brows raised", "an inner brow raiser", "brows slanted upwards in the middle"),
        ("drooping eyelids", "downcast eyes", "tearful eyes", "lowered gaze"),
        ("lip corners pulled down", "a lip corner depressor", "a trembling chin", "a pout"),
    ),
    "surprise": (
        ("brows raised high", "curved raised eyebrows", "inner and outer brows lifted high"),
        ("eyes wide open", "widened round eyes", "upper eyelids raised"),
        ("the jaw dropped", "a jaw drop", "a wide open mouth", "a round open mouth"),
    ),
    "neutral": (
        ("relaxed brows", "brows at rest", "a smooth forehead"),
        ("relaxed eyes", "eyes at rest", "a steady plain gaze"),
        ("closed resting lips", "a relaxed mouth", "a straight closed mouth", "a still face"),
    ),
}

_ADJECTIVE_FRAMES = (
    "{}",
    "a {} face",
    "the face of a {} person",
    "a person who looks {}",
    "a {} expression",
    "a {} facial expression",
    "a photo of a {} face",
    "a photo of a {} person",
    "a photo of a person with a {} expression",
    "a close-up portrait of a {} person",
    "a cropped grey photo of a {} face",
    "a low resolution picture of a {} face",
    "this face looks {}",
    "someone with a {} look",
)
_NOUN_FRAMES = (
    "{}",
    "an expression of {}",
    "a face with an expression of {}",
    "a photo of a face with an expression of {}",
    "a facial expression of {}",
    "a face showing {}",
    "a face expressing {}",
    "a look of {}",
    "a photo of a face that shows {}",
    "a blurry picture of a person showing {}",
)
_ACTION_FRAMES = (
    "{}",
    "a face with {}",
    "a photo of a face with {}",
    "an expression with {}",
    "facial actions: {}",
    "a person with {}",
)


def compose_wording(label: str, rng: random.Random) -> str:
    """Write one description of a label: a name for it, its facial actions, or both."""
    kind = rng.random()
    if kind < 0.4:
        named = rng.choice(_ADJECTIVE_FRAMES).format(rng.choice(ADJECTIVES[label]))
    elif kind < 0.7:
        named = rng.choice(_NOUN_FRAMES).format(rng.choice(NOUNS[label]))
    else:
        return describe_actions(label, rng)
    return named if rng.random() < 0.7 else f"{named} with {_actions(label, rng, least=1)}"


def describe_actions(label: str, rng: random.Random) -> str:
    """A caption of the facial actions of a label, without a word for the label itself."""
    return rng.choice(_ACTION_FRAMES).format(_actions(label, rng, least=2))


def _actions(label: str, rng: random.Random, least: int) -> str:
    groups = ACTIONS[label]
    chosen = rng.sample(groups, rng.randint(least, len(groups)))
    phrases = [rng.choice(group) for group in chosen]
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def training_wordings(count: int, seed: int) -> dict[str, tuple[str, ...]]:
    """`count` distinct wordings a label, the scoring prompts among them."""
    rng = random.Random(seed)
    wordings: dict[str, tuple[str, ...]] = {}
    for label in LABELS:
        texts = dict.fromkeys(CLASS_PROMPTS[label])
        while len(texts) < count:
            texts[compose_wording(label, rng)] = None
        wordings[label] = tuple(texts)
    return wordings


#: The wordings that the shipped `mien-lite` was trained against.
TRAINING_WORDINGS: dict[str, tuple[str, ...]] = training_wordings(400, seed=0)
