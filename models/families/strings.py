"""Families about strings, words and dictionaries."""

from __future__ import annotations

from models.families.pieces import (
    char_predicate,
    int_map,
    int_predicate,
    letter,
    number,
    one_of,
    word_map,
    word_predicate,
)
from models.families.template import Template

CASE = one_of(
    ("upper", "upper case", "upper"),
    ("lower", "lower case", "lower"),
    ("swapped", "swapped case", "swapcase"),
)
JOINER = one_of(
    ("space", "a space", "' '"),
    ("dash", "'-'", "'-'"),
    ("comma", "a comma", "','"),
    ("nothing", "nothing", "''"),
    ("underscore", "'_'", "'_'"),
)
LENGTH_EXTREME = one_of(
    ("longest", "longest", "max"),
    ("shortest", "shortest", "min"),
)
QUANTIFIER = one_of(
    ("all", "all", "all"),
    ("any", "any", "any"),
)
AGGREGATE = one_of(
    ("sum", "sum", "sum"),
    ("maximum", "maximum", "max"),
    ("minimum", "minimum", "min"),
)
TEXTS = "List[str]"

TEMPLATES = (
    Template(
        "count_{p.name}_characters", "text", "int",
        ("the number of characters in {a} that are {p.words}", "how many characters of {a} are {p.words}"),
        "return sum(1 for c in {a} if {p.code})", {"p": char_predicate}),
    Template(
        "keep_{p.name}_in_{q.name}_case", "text", "str",
        ("the string {a} in {q.words}, keeping only the characters that are {p.words}",),
        "return ''.join(c for c in {a} if {p.code}).{q.code}()", {"p": char_predicate, "q": CASE}),
    Template(
        "remove_{p.name}", "text", "str",
        ("the string {a} with all characters removed that are {p.words}",),
        "return ''.join(c for c in {a} if not ({p.code}))", {"p": char_predicate}),
    Template(
        "{q.name}_characters_{p.name}", "text", "bool", ("{q.words} of the characters in {a} are {p.words}",),
        "return {q.code}({p.code} for c in {a})", {"q": QUANTIFIER, "p": char_predicate}),
    Template(
        "positions_of_{p.name}", "text", "List[int]",
        ("the indices of the characters in {a} that are {p.words}",),
        "return [i for i, c in enumerate({a}) if {p.code}]", {"p": char_predicate}),
    Template(
        "replace_{p.name}_by_{k.name}", "text", "str",
        ("the string {a} with every character that is one of those that are {p.words} replaced by {k.words}",),
        "return ''.join({k.code} if {p.code} else c for c in {a})", {"p": char_predicate, "k": letter}),
    Template(
        "repeat_{p.name}_{k.name}_times", "text", "str",
        ("the string {a} in which the characters that are {p.words} are repeated {k.words} times",),
        "return ''.join(c * {k.code} if {p.code} else c for c in {a})", {"p": char_predicate, "k": number(2, 4)}),
    Template(
        "{q.name}_{p.name}_only", "text", "str",
        ("the string {a} where only the characters that are {p.words} are turned to {q.words}",),
        "return ''.join(c.{q.code}() if {p.code} else c for c in {a})", {"p": char_predicate, "q": CASE}),
    Template(
        "surround_with_{k.name}_and_{l.name}", "word", "str",
        ("the string {a} with {k.words} added in front of it and {l.words} added at the end",),
        "return {k.code} + {a} + {l.code}", {"k": letter, "l": letter}),
    Template(
        "first_{k.name}_last_{d.name}", "word", "str",
        ("the first {k.words} characters of {a} followed by its last {d.words} characters",),
        "return {a}[:{k.code}] + {a}[-{d.code}:]", {"k": number(1, 5), "d": number(1, 5)}),
    Template(
        "shift_left_{k.name}_{q.name}", "word", "str",
        ("the string {a} in {q.words} with its first {k.words} characters moved to the end",),
        "return ({a}[{k.code}:] + {a}[:{k.code}]).{q.code}()", {"k": number(1, 5), "q": CASE}),
    Template(
        "ends_{k.name}_{l.name}", "word", "bool",
        ("the string {a} starts with {k.words} or ends with {l.words}",),
        "return {a}.startswith({k.code}) or {a}.endswith({l.code})", {"k": letter, "l": letter}),
    Template(
        "more_{k.name}_than_{l.name}", "text", "bool",
        ("{k.words} occurs more often than {l.words} in the string {a}",),
        "return {a}.count({k.code}) > {a}.count({l.code})", {"k": letter, "l": letter}),
    Template(
        "is_palindrome_without_{k.name}", "word", "bool",
        ("the string {a} is a palindrome once every {k.words} is removed",),
        "kept = {a}.replace({k.code}, '')\nreturn kept == kept[::-1]", {"k": letter}),
    Template(
        "swap_{k.name}_to_{l.name}_{q.name}", "text", "str",
        ("the string {a} in {q.words} with every {k.words} replaced by {l.words} beforehand",),
        "return {a}.replace({k.code}, {l.code}).{q.code}()", {"k": letter, "l": letter, "q": CASE}),
    Template(
        "words_{p.name}", "words", TEXTS,
        ("only the strings in {a} that {p.words}", "the list of all strings in {a} that {p.words}"),
        "return [w for w in {a} if {p.code}]", {"p": word_predicate}),
    Template(
        "words_{p.name}_{m.name}", "words", TEXTS,
        ("the strings in {a} that {p.words}, each {m.words}",),
        "return [{m.code} for w in {a} if {p.code}]", {"p": word_predicate, "m": word_map}),
    Template(
        "count_words_{p.name}", "words", "int",
        ("the number of strings in {a} that {p.words}", "how many strings in {a} {p.words}"),
        "return sum(1 for w in {a} if {p.code})", {"p": word_predicate}),
    Template(
        "total_length_{p.name}", "words", "int",
        ("the total number of characters of the strings in {a} that {p.words}",),
        "return sum(len(w) for w in {a} if {p.code})", {"p": word_predicate}),
    Template(
        "{q.name}_words_{p.name}", "words", "bool", ("{q.words} of the strings in {a} {p.words}",),
        "return {q.code}({p.code} for w in {a})", {"q": QUANTIFIER, "p": word_predicate}),
    Template(
        "{e.name}_word_{p.name}", "words", "Optional[str]",
        ("the {e.words} of the strings in {a} that {p.words}, the first one in case of a tie, or None if there is "
         "none",),
        "return {e.code}((w for w in {a} if {p.code}), key=len, default=None)",
        {"e": LENGTH_EXTREME, "p": word_predicate}),
    Template(
        "join_{m.name}_with_{j.name}", "words", "str",
        ("a single string with the strings in {a}, each {m.words}, joined with {j.words}",),
        "return {j.code}.join({m.code} for w in {a})", {"m": word_map, "j": JOINER}),
    Template(
        "join_{p.name}_with_{j.name}", "words", "str",
        ("a single string of the strings in {a} that {p.words}, joined with {j.words}",),
        "return {j.code}.join(w for w in {a} if {p.code})", {"p": word_predicate, "j": JOINER}),
    Template(
        "sentence_words_{m.name}_{j.name}", "text", "str",
        ("the words of the string {a} (separated by spaces), each {m.words}, joined with {j.words}",),
        "return {j.code}.join({m.code} for w in {a}.split())", {"m": word_map, "j": JOINER}),
    Template(
        "sentence_words_{p.name}", "text", "int",
        ("the number of words in the string {a} (separated by spaces) that {p.words}",),
        "return sum(1 for w in {a}.split() if {p.code})", {"p": word_predicate}),
    Template(
        "lengths_{p.name}", "words", "Dict[str, int]",
        ("a dictionary that maps each string in {a} that satisfies the following to its length: the strings that "
         "{p.words}",),
        "return {{w: len(w) for w in {a} if {p.code}}}", {"p": word_predicate}),
    Template(
        "count_each_{p.name}", "text", "Dict[str, int]",
        ("a dictionary with the number of occurrences of each of the characters in {a} that are {p.words}",),
        "counts = {{}}\nfor c in {a}:\n    if {p.code}:\n        counts[c] = counts.get(c, 0) + 1\nreturn counts",
        {"p": char_predicate}),
    Template(
        "group_{p.name}_by_first", "words", "Dict[str, List[str]]",
        ("a dictionary from first letters to the strings in {a} that start with that letter, using only the strings "
         "that {p.words}",),
        "groups = {{}}\nfor w in {a}:\n    if {p.code}:\n        groups.setdefault(w[0], []).append(w)\nreturn groups",
        {"p": word_predicate}),
    Template(
        "keys_with_{p.name}_values", "mapping", TEXTS,
        ("the sorted list of the keys of the dictionary {a} whose values are {p.words}",),
        "return sorted(key for key, x in {a}.items() if {p.code})", {"p": int_predicate}),
    Template(
        "values_{p.name}_{m.name}", "mapping", "Dict[str, int]",
        ("a dictionary with the entries of {a} whose values are {p.words}, each value {m.words}",),
        "return {{key: {m.code} for key, x in {a}.items() if {p.code}}}", {"p": int_predicate, "m": int_map}),
    Template(
        "{r.name}_of_values_{m.name}", "mapping", "int",
        ("the {r.words} of the values of the dictionary {a}, each {m.words}",),
        "return {r.code}({m.code} for x in {a}.values())", {"r": AGGREGATE, "m": int_map}),
    Template(
        "drop_key_{k.name}_{p.name}", "mapping", "Dict[str, int]",
        ("the dictionary {a} without the key {k.words} and without entries whose values are {p.words}",),
        "return {{key: x for key, x in {a}.items() if key != {k.code} and not ({p.code})}}",
        {"k": letter, "p": int_predicate}),
    Template(
        "merge_{r.name}_{m.name}", "mapping,mapping", "Dict[str, int]",
        ("a dictionary with the keys of both {a} and {b}, where a key that occurs in both gets the {r.words} of its "
         "values, and every value is finally {m.words}",),
        "merged = dict({a})\nfor key, x in {b}.items():\n    merged[key] = {r.code} if key in merged else x\n"
        "return {{key: {m.code} for key, x in merged.items()}}",
        {"m": int_map, "r": one_of(
            ("sum", "sum", "merged[key] + x"), ("max", "maximum", "max(merged[key], x)"),
            ("min", "minimum", "min(merged[key], x)"), ("product", "product", "merged[key] * x"))}),
)  # fmt: skip
