"""Speech: libespeak-ng through ctypes."""

from __future__ import annotations

import ctypes
import functools
import importlib
import tempfile
import threading
from pathlib import Path

from infra.local.upstream.voices import Sound

SAMPLE_RATE = 22_050  # hertz; what the library speaks
WORDS_A_MINUTE = 175  # at speed 1
WORDS_A_MINUTE_MIN, WORDS_A_MINUTE_MAX = 80, 350  # beyond, the library does not keep to the pace
AMPLITUDE = 60  # of the library's 0 to 200; a louder voice may overdrive it

_RETRIEVAL_WITHOUT_THREADS, _UTF8 = 2, 1
_RATE, _VOLUME = 1, 2
_LANGUAGES = {"cmn": "sit/cmn", "en": "gmw/en-US", "ja": "jpx/ja"}
_OWN_LINES = (b"name", b"pitch", b"flutter", b"roughness")

_OnSamples = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class EspeakError(Exception):
    """The library can't be loaded, or does not know a voice."""


class Espeak:
    """The one voice engine of this process.

    The library has one global state, so calls take turns under a lock. It is made to say the same text with the same
    sound in the same way always. Its own voices waver ("flutter") by all that was said before, so each sound is given
    to it as a voice file that doesn't. What overdrives it stays quieter for a while, so it never speaks loudly.

    Raises:
        EspeakError: The library or its language files are missing or can't be loaded.
    """

    def __init__(self) -> None:
        try:
            loader = importlib.import_module("espeakng_loader")  # where it is missing, tones do
            self._library = ctypes.CDLL(loader.get_library_path())
            self._folder = Path(loader.get_data_path())
        except (ImportError, OSError) as exc:
            raise EspeakError("The speech library can't be loaded") from exc
        self._lock = threading.Lock()
        self._sound: Sound | None = None
        self._pieces: list[bytes] = []
        self._on_samples = _OnSamples(self._keep)
        if self._library.espeak_Initialize(_RETRIEVAL_WITHOUT_THREADS, 0, bytes(self._folder), 0) != SAMPLE_RATE:
            raise EspeakError("The speech library has no usable language files")
        self._library.espeak_SetSynthCallback(self._on_samples)
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]

    def speak(self, text: str, sound: Sound, *, words_a_minute: int) -> bytes:
        """Return *text* as 16-bit samples at `SAMPLE_RATE`; b"" for a text that has nothing to say.

        Blocks for a few milliseconds; safe from any thread.
        """
        assert WORDS_A_MINUTE_MIN <= words_a_minute <= WORDS_A_MINUTE_MAX
        spoken = text.replace("\0", " ").encode(errors="replace") + b"\0"
        with self._lock:
            self._take(sound)
            self._library.espeak_SetParameter(_RATE, words_a_minute, 0)
            self._library.espeak_SetParameter(_VOLUME, AMPLITUDE, 0)
            self._pieces.clear()
            self._library.espeak_Synth(spoken, len(spoken), 0, 1, 0, _UTF8, None, None)
            return b"".join(self._pieces)

    def _keep(self, samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:  # the last call brings none
            self._pieces.append(ctypes.string_at(samples, count * 2))
        return 0

    def _take(self, sound: Sound) -> None:
        if sound == self._sound:
            return
        with tempfile.NamedTemporaryFile(prefix="voice-") as file:
            file.write(self._voice_file(sound))
            file.flush()
            if self._library.espeak_SetVoiceByFile(file.name.encode()) != 0:
                raise EspeakError(f"The speech library does not speak {sound.language}")
        self._sound = sound

    def _voice_file(self, sound: Sound) -> bytes:
        language = (self._folder / "lang" / _LANGUAGES[sound.language]).read_bytes()
        lines = [line for line in language.splitlines() if not line.startswith(_OWN_LINES)]
        own = [
            "name simulated",
            f"pitch {sound.pitch_hz} {sound.pitch_hz * 3 // 2}",
            *(f"formant {number} {sound.formant_percent} 100 100" for number in range(9)),
            "flutter 0",
            "roughness 0",
        ]
        return b"\n".join([*lines, *(line.encode() for line in own), b""])


@functools.cache
def espeak() -> Espeak | None:
    """Return the engine, loaded at the first call; None when it can't be loaded here."""
    try:
        return Espeak()
    except EspeakError:
        return None
