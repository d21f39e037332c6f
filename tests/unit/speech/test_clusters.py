from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcengine_client.speech.clusters import cluster_ends


@pytest.mark.parametrize(
    "clusters",
    [
        ["a", "b", " ", "c"],
        ["e\u0301", "o\u0302\u0323"],
        ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "❤\ufe0f", "1\ufe0f\u20e3"],
        ["\U0001f1e8\U0001f1f3", "\U0001f1eb\U0001f1f7", "\U0001f1e9"],
        ["\U0001f3f4\U000e0067\U000e0062\U000e007f", "好"],
        ["\u1112\u1161\u11ab", "한", "가\u11a8", "각", "\u1100가"],
        ["क्\u200dषि", "क्ष", "नि"],
        ["か\u3099", "ﾊ\uff9f"],
        ["葛\U000e0100", "城"],
        ["\u06001"],
        ["\n", "\u0301", "a"],
    ],
)
def test_what_a_reader_sees_as_one_stays_one(clusters: list[str]) -> None:
    text = "".join(clusters)

    ends = cluster_ends(text)

    assert [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)] == clusters


@given(st.text())
def test_clusters_are_the_text(text: str) -> None:
    ends = cluster_ends(text)

    assert ends == sorted(set(ends))
    assert ends[-1:] == ([len(text)] if text else [])
