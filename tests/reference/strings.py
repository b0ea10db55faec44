"""Some 6,500 strings of every kind that a tokenizer may meet, the same in every run."""

import html.entities
import random
import unicodedata
from collections.abc import Callable, Sequence

MARKS = ("<|startoftext|>", "<|endoftext|>")
SCRIPTS = """
    Latin 00C0 024F, IPA 0250 02AF, Vietnamese 1EA0 1EF9, Greek 0386 03CE, Polytonic 1F00 1FFC, Cyrillic 0400 04F9,
    Armenian 0531 0587, Hebrew 05B0 05EA, Arabic 0621 06D3, Syriac 0710 074A, Thaana 0780 07B1, Devanagari 0901 0970,
    Bengali 0981 09FA, Gurmukhi 0A02 0A74, Gujarati 0A81 0AEF, Tamil 0B82 0BF2, Telugu 0C01 0C6F, Kannada 0C82 0CEF,
    Malayalam 0D02 0D6F, Sinhala 0D82 0DF4, Thai 0E01 0E5B, Lao 0E81 0EDD, Tibetan 0F00 0FCF, Myanmar 1000 1059,
    Georgian 10D0 10F8, Hangul AC00 D7A3, Jamo 1100 11F9, Ethiopic 1200 137C, Cherokee 13A0 13F4, Runic 16A0 16F0,
    Canadian 1401 1676, Khmer 1780 17E9, Mongolian 1800 18A9, Kana 3041 30FE, Bopomofo 3105 312C, Han 4E00 9FA5,
    Yi A000 A4C6, Gothic 10330 1034A, Deseret 10400 1044D, Letterlike 2100 213A, Mathematical 1D400 1D7FF
"""
PHRASES = """
    a photo of a cat; Ein Foto von einem Hund, größer als sonst; une photo d'un élève à l'école; ¿Dónde está el niño?;
    фотография красной машины; μια φωτογραφία ενός σκύλου; ΟΔΥΣΣΕΥΣ; תמונה של חתול; صورة قطة سوداء; एक कुत्ते की तस्वीर;
    แมวสีดำ; 一张向日葵的照片; 一輛紅色的車; 犬の写真です。; 고양이 사진; ảnh một con mèo; ფოტო; የድመት ፎቶ;
    Iğdır'da İSTANBUL; Ærøskøbing; naïve café — “quoted”; it’s “fine”…; price: 5 €
"""
EMOJI = "😀 🐶 🌻 ❤️ ❤ 👍🏽 👩‍👩‍👧 🏳️‍🌈 🇩🇪 🇯🇵🇫🇷 1️⃣ #️⃣ ☃ ✈️ 🧑🏿‍🚀 🚀🚀🚀 © ™ \u200d \ufe0f 🏴\U000e0067\U000e0062\U000e007f"
SPACES = (
    " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2003\u2009\u200b\u2028\u2029\u202f\u205f\u3000\ufeff\u180e\u2060"
)
ODD_CASE = "İıſßẞKÅǅǆŒœﬁﬂﬃﬆĲŉΣςΐϐΩᾳẛⅣⅷⒶⓩ℀℻ＡｚＬＯＵＤ１５？～ｱﾞªº²½"
APOSTROPHES = "' ' ' ’ ‘ ` ʼ ´ &#39; &rsquo;"
ENDINGS = "s t re ve m ll d S LL Re n't ſ sd x tis"
ENTITIES = "amp; lt; gt; quot; nbsp; eacute; copy hellip; #39; #x27;"
NEARLY_MARKS = (
    "<|STARTOFTEXT|> <|EndOfText|> <|ſtartoftext|> <|endoftext |endoftext|> &lt;|endoftext|&gt; "
    "<start_of_text> <end_of_text>"
)


class Strings:
    """A seeded source of strings made of `words`; each method draws one string of its kind."""

    def __init__(self, words: Sequence[str]) -> None:
        self.random = random.Random(20240229)
        self.words = words
        # Characters that every Unicode version of the last twenty years has, so that no library's tables matter.
        category = unicodedata.ucd_3_2_0.category
        known = [character for character in map(chr, range(0x110000)) if category(character) not in ("Cn", "Co")]
        self.characters = known
        ranges = [line.split()[1:] for line in SCRIPTS.split(",")]
        self.alphabets = [[c for c in known if int(first, 16) <= ord(c) <= int(last, 16)] for first, last in ranges]
        self.phrases = [phrase.strip() for phrase in PHRASES.split(";")]
        self.entities = sorted(html.entities.html5)

    def several(self, least: int, most: int, make: Callable[[], str], between: str = "") -> str:
        return between.join(make() for _ in range(self.random.randint(least, most)))

    def any_of(self, *makers: Callable[[], str]) -> str:
        return self.random.choice(makers)()

    def one(self, listed: str) -> str:
        return self.random.choice(listed.split(" "))

    def gap(self) -> str:
        return self.random.choice(["", " "])

    def word(self) -> str:
        word = self.random.choice(self.words)
        return self.random.choice([word, word, word, word.upper(), word.title(), word.swapcase()])

    def script(self) -> str:
        alphabet = self.random.choice(self.alphabets)
        between = self.random.choice([" ", ", ", "-", ""])
        return self.several(1, 4, lambda: self.several(1, 7, lambda: self.random.choice(alphabet)), between)

    def emoji(self) -> str:
        return self.one(EMOJI)

    def contraction(self) -> str:
        return self.word() + self.one(APOSTROPHES) + self.one(ENDINGS)

    def entity(self) -> str:
        start = self.random.choice(["&", "&", "&amp;", "&amp;amp;", "&AMP;"])
        number = self.random.choice([self.random.randrange(300), ord(self.random.choice(self.characters))])
        kinds = [self.random.choice(self.entities), self.one(ENTITIES), f"#{number};", f"#x{number:X};", f"#{number}"]
        return start + self.random.choice(kinds)

    def space(self) -> str:
        return self.several(1, 4, lambda: self.random.choice(SPACES))

    def control(self) -> str:
        low, high = chr(self.random.randrange(32)), chr(self.random.randrange(0x7F, 0xA0))
        return self.random.choice([low, high, "\x1b[31m", "\u202e", "\ufffd"])

    def mojibake(self) -> str:
        text = self.random.choice([*self.phrases, self.emoji(), self.word() + "é"])
        encoding = self.random.choice(["latin-1", "cp1252", "cp437"])  # those on which all versions of ftfy agree
        for _ in range(self.random.choice([1, 1, 2])):
            text = text.encode().decode(encoding, errors="replace")
        return text

    def mark(self) -> str:
        return self.random.choice([*MARKS, self.one(NEARLY_MARKS)])

    def sign(self) -> str:
        digit, ascii_ = str(self.random.randrange(10)), chr(self.random.randrange(33, 127))
        return self.random.choice([digit, ascii_, "...", "!!!", "--"])

    def odd(self) -> str:
        return self.random.choice(ODD_CASE)

    def combining(self) -> str:
        text = self.any_of(self.script, lambda: self.random.choice(self.phrases))
        apart = unicodedata.normalize("NFD" if self.random.random() < 0.5 else "NFKD", text)
        return apart + chr(self.random.randrange(0x300, 0x34E))

    def letters(self) -> str:
        return self.any_of(lambda: self.random.choice("aaehlmnnooz"), self.word)

    def mixture(self) -> str:
        kinds = [self.word, self.script, self.contraction, self.entity, self.mark, self.emoji, self.space, self.odd]
        return self.any_of(*kinds, self.control, self.sign)


def strings(names: Sequence[str], templates: Sequence[Callable[[str], str]]) -> dict[str, list[str]]:
    """The strings by kind: 2,000 of `names` in `templates`, and all the others."""
    words = sorted({word for name in names for word in name.split() if word.isalpha()})
    make = Strings(words)
    few, choice, any_of, word = make.several, make.random.choice, make.any_of, make.word
    kinds: dict[str, tuple[int, Callable[[], str]]] = {
        "class names × templates": (2000, lambda: choice(templates)(choice(names))),
        "scripts": (800, make.script),
        "emoji": (280, lambda: few(1, 4, lambda: any_of(make.emoji, make.emoji, word), make.gap())),
        "HTML entities": (450, lambda: few(1, 3, lambda: any_of(make.entity, make.entity, word), make.gap())),
        "contractions": (300, lambda: few(1, 4, lambda: any_of(make.contraction, word), " ")),
        "white space": (300, lambda: few(1, 5, lambda: any_of(make.space, word))),
        "control characters": (300, lambda: few(1, 8, lambda: any_of(make.control, word))),
        "mojibake": (250, make.mojibake),
        "marks": (150, lambda: few(1, 4, lambda: any_of(make.mark, word), make.gap())),
        "digits and punctuation": (300, lambda: few(1, 12, lambda: any_of(make.sign, make.sign, word))),
        "case and width": (250, lambda: few(1, 8, lambda: any_of(make.odd, make.odd, word))),
        "combining marks": (200, lambda: few(1, 2, make.combining, " ")),
        "any characters": (400, lambda: few(1, 10, lambda: choice(make.characters))),
        "long words": (60, lambda: few(12, 60, make.letters)),
        "mixtures": (400, lambda: few(1, 9, make.mixture, make.gap())),
    }
    fixed = {
        "scripts": make.phrases,
        "emoji": EMOJI.split(),
        "white space": ["", " ", "\n", "\u3000"],
        "marks": [*MARKS, *NEARLY_MARKS.split()],
        "case and width": list(ODD_CASE),
        "any characters": ["\ud800", "a\udc00b", "\ud83d\ude00"],
    }
    return {kind: _unique(fixed.get(kind, []), count, draw) for kind, (count, draw) in kinds.items()}


def _unique(first: Sequence[str], count: int, draw: Callable[[], str]) -> list[str]:
    found = dict.fromkeys(first)
    while len(found) < len(first) + count:
        found[draw()] = None
    return list(found)
