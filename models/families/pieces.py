"""The parts that exercise templates are composed of: predicates, maps, numbers and letters, and sample arguments.

A `Piece` carries the same idea three times: in an identifier, in English and in Python. Its `name` holds all of its
parameters, so the names of an exercise's pieces identify the combination (and decide its split).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

Draw = Callable[[random.Random], "Piece"]

LETTERS = "abcdefghilmnoprstuw"
WORDS = (
    "apple", "river", "Stone", "cloud", "level", "green", "Tiger", "window", "bread", "noon", "Paper", "house",
    "music", "table", "Radar", "orange", "light", "stone", "garden", "python", "code", "Data", "letter", "anna",
    "winter", "summer", "mouse", "Queen", "king", "ocean", "forest", "little", "happy", "quick", "brown", "fox",
    "jumps", "over", "lazy", "dog", "hello", "world", "abc", "list", "tree", "sun", "moon", "star", "Bird",
    "fish", "blue", "red", "kayak", "train", "plane", "number", "value",
)  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """One parameter of an exercise: as part of an identifier, in words, and as an expression."""

    name: str
    words: str
    code: str


def number(low: int, high: int) -> Draw:
    """A draw of one integer in `[low, high]`."""

    def draw(rng: random.Random) -> Piece:
        text = str(rng.randint(low, high))
        return Piece(text, text, text)

    return draw


def letter(rng: random.Random) -> Piece:
    """A lower-case letter, quoted in words and code."""
    char = rng.choice(LETTERS)
    return Piece(char, f"'{char}'", f"'{char}'")


def one_of(*pieces: tuple[str, str, str]) -> Draw:
    """A draw of one of the listed (name, words, code) triples."""

    def draw(rng: random.Random) -> Piece:
        return Piece(*rng.choice(pieces))

    return draw


def int_predicate(rng: random.Random) -> Piece:
    """A condition on an integer `x`; words follow "that are"."""
    k, d = rng.randint(2, 12), rng.randint(1, 25)
    low = rng.randint(-5, 10)
    high = low + rng.randint(3, 15)
    return rng.choice(
        [
            Piece("even", "even", "x % 2 == 0"),
            Piece("odd", "odd", "x % 2 != 0"),
            Piece("positive", "positive", "x > 0"),
            Piece("negative", "negative", "x < 0"),
            Piece(f"greater_than_{d}", f"greater than {d}", f"x > {d}"),
            Piece(f"less_than_{d}", f"less than {d}", f"x < {d}"),
            Piece(f"at_least_{d}", f"at least {d}", f"x >= {d}"),
            Piece(f"at_most_{d}", f"at most {d}", f"x <= {d}"),
            Piece(f"divisible_by_{k}", f"divisible by {k}", f"x % {k} == 0"),
            Piece(f"not_divisible_by_{k}", f"not divisible by {k}", f"x % {k} != 0"),
            Piece(f"not_equal_to_{d}", f"not equal to {d}", f"x != {d}"),
            Piece(f"between_{low}_and_{high}".replace("-", "minus_"), f"between {low} and {high} (inclusive)",
                  f"{low} <= x <= {high}"),
        ]
    )  # fmt: skip


def int_map(rng: random.Random) -> Piece:
    """An expression of an integer `x`; words follow "each"."""
    k, d = rng.randint(3, 12), rng.randint(1, 20)
    return rng.choice(
        [
            Piece("squared", "squared", "x * x"),
            Piece("cubed", "cubed", "x ** 3"),
            Piece("doubled", "doubled", "x * 2"),
            Piece("negated", "negated", "-x"),
            Piece("absolute", "replaced by its absolute value", "abs(x)"),
            Piece(f"times_{k}", f"multiplied by {k}", f"x * {k}"),
            Piece(f"plus_{d}", f"increased by {d}", f"x + {d}"),
            Piece(f"minus_{d}", f"decreased by {d}", f"x - {d}"),
            Piece(f"modulo_{k}", f"reduced modulo {k}", f"x % {k}"),
            Piece(f"divided_by_{k}", f"divided by {k} with integer division", f"x // {k}"),
        ]
    )


def char_predicate(rng: random.Random) -> Piece:
    """A condition on a character `c`; words follow "that are"."""
    char = rng.choice(LETTERS)
    some = "".join(sorted(rng.sample(LETTERS, 3)))
    return rng.choice(
        [
            Piece("vowels", "vowels", "c.lower() in 'aeiou'"),
            Piece("uppercase", "uppercase letters", "c.isupper()"),
            Piece("lowercase", "lowercase letters", "c.islower()"),
            Piece("digits", "digits", "c.isdigit()"),
            Piece("letters", "letters", "c.isalpha()"),
            Piece("not_spaces", "not spaces", "c != ' '"),
            Piece(f"equal_to_{char}", f"equal to '{char}'", f"c == '{char}'"),
            Piece(f"not_{char}", f"not equal to '{char}'", f"c != '{char}'"),
            Piece(f"in_{some}", f"in the string '{some}'", f"c in '{some}'"),
            Piece(f"not_in_{some}", f"not in the string '{some}'", f"c not in '{some}'"),
            Piece(f"after_{char}", f"greater than '{char}'", f"c > '{char}'"),
        ]
    )


def word_predicate(rng: random.Random) -> Piece:
    """A condition on a string `w`; words follow "that"."""
    k, char = rng.randint(2, 7), rng.choice(LETTERS)
    return rng.choice(
        [
            Piece(f"longer_than_{k}", f"have more than {k} characters", f"len(w) > {k}"),
            Piece(f"shorter_than_{k}", f"have fewer than {k} characters", f"len(w) < {k}"),
            Piece(f"of_length_{k}", f"have exactly {k} characters", f"len(w) == {k}"),
            Piece(f"starting_with_{char}", f"start with '{char}'", f"w.startswith('{char}')"),
            Piece(f"ending_with_{char}", f"end with '{char}'", f"w.endswith('{char}')"),
            Piece(f"with_{char}", f"contain the letter '{char}'", f"'{char}' in w"),
            Piece(f"without_{char}", f"do not contain the letter '{char}'", f"'{char}' not in w"),
            Piece("palindromes", "are palindromes", "w == w[::-1]"),
            Piece("of_even_length", "have an even number of characters", "len(w) % 2 == 0"),
            Piece("of_odd_length", "have an odd number of characters", "len(w) % 2 == 1"),
            Piece("lowercase", "are in lower case", "w.islower()"),
        ]
    )


def word_map(rng: random.Random) -> Piece:
    """A string-valued expression of a string `w`; words follow "each"."""
    char, k = rng.choice(LETTERS), rng.randint(2, 4)
    return rng.choice(
        [
            Piece("upper", "converted to upper case", "w.upper()"),
            Piece("reversed", "reversed", "w[::-1]"),
            Piece("capitalized", "capitalized", "w.capitalize()"),
            Piece(f"repeated_{k}", f"repeated {k} times", f"w * {k}"),
            Piece(f"first_{k}", f"cut to its first {k} characters", f"w[:{k}]"),
            Piece(f"last_{k}", f"cut to its last {k} characters", f"w[-{k}:]"),
            Piece(f"prefixed_{char}", f"prefixed with '{char}'", f"'{char}' + w"),
            Piece(f"suffixed_{char}", f"followed by '{char}'", f"w + '{char}'"),
            Piece(f"drop_{char}", f"with every '{char}' removed", f"w.replace('{char}', '')"),
        ]
    )
