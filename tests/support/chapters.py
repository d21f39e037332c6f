"""Made-up chapters of books: sentences of all lengths, in paragraphs, with speech, figures and dates."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

PARAGRAPH_SENTENCES_MAX = 7


@dataclass(frozen=True, slots=True)
class _Language:
    """What sentences are made of."""

    clauses: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    between: str  # clauses
    said: str
    ends: tuple[str, ...]
    gap: str  # between sentences


_LANGUAGES = {
    "zh": _Language(
        (
            "{who}在{where}等了{n}天",
            "那一年是{n}年，{what}还没有人见过",
            "{who}把{what}放在{where}的窗边",
            "雨从早上{n}点下到傍晚",
            "没有人知道{what}值多少钱，也许{n}元，也许更多",
            "{where}的灯一盏一盏地亮了",
            "{who}慢慢地走过去，没有回头",
            "第{n}号船带着{what}离开了{where}",
        ),
        {
            "who": ("老船长", "小姑娘", "邮差", "守塔的人", "面包师", "陌生人"),
            "where": ("码头", "旧城", "山脚下", "桥的另一边", "图书馆", "花园"),
            "what": ("一只木箱", "那封信", "铜钟", "两把钥匙", "一张地图", "最后的苹果"),
        },
        "，",
        "{who}说：“{clause}。”",
        ("。", "。", "！", "？", "……"),
        "",
    ),
    "en": _Language(
        (
            "{who} had waited at {where} for {n} days",
            "in the year {n} nobody had seen {what} yet",
            "{who} put {what} by the window of {where}",
            "the rain fell from {n} o'clock until the evening",
            "{what} may have cost {n} pounds, or more",
            "the lamps of {where} were lit, one after the other",
            "{who} walked on slowly and did not look back",
            "ship No. {n} took {what} away from {where}",
        ),
        {
            "who": ("the old captain", "a young girl", "the postman", "Mr. Brown", "the baker", "a stranger"),
            "where": (
                "the harbour",
                "the old town",
                "the foot of the hill",
                "the far side of the bridge",
                "the garden",
            ),
            "what": ("a wooden chest", "that letter", "the bronze bell", "two keys", "a map", "the last apple"),
        },
        ", and ",
        "{who} said: “{clause}.”",
        (".", ".", "!", "?"),
        " ",
    ),
}


def chapter(language: str, characters: int, *, seed: int) -> str:
    """Return a chapter of so many characters, in `zh` or `en`; the same one for the same seed."""
    chance, made = Random(f"{language} {seed}"), _LANGUAGES[language]
    text = ""
    while len(text) < characters:
        count = chance.randint(1, PARAGRAPH_SENTENCES_MAX)
        text += made.gap.join(_sentence(made, chance) for _ in range(count)) + "\n\n"
    return text[: characters - 1].rstrip().ljust(characters - 1, made.ends[0]) + made.ends[0]


def _sentence(made: _Language, chance: Random) -> str:
    clauses = [_clause(made, chance) for _ in range(min(chance.randint(1, 9), chance.randint(1, 9)))]
    said = made.between.join(clauses)
    if len(clauses) == 1 and chance.random() < 0.4:
        said = made.said.format(who=chance.choice(made.words["who"]), clause=said)
        return said[0].upper() + said[1:]
    return said[0].upper() + said[1:] + chance.choice(made.ends)


def _clause(made: _Language, chance: Random) -> str:
    words = {name: chance.choice(choices) for name, choices in made.words.items()}
    return chance.choice(made.clauses).format(**words, n=chance.randint(2, 2_400))
