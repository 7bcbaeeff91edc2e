"""The words of a page that a reader may not know, with a definition each; docs/glossary.md has all.

The captions of tables and figures link a word, where it first stands, to its definition on the same
page, so that a page which is sent alone explains itself.
"""

import re

from markupsafe import Markup, escape

WORDS = {
    "calibration": "Whether predictions with a confidence of 80 % are right in 80 % of the cases.",
    "CE": "Cross-entropy with the labels.",
    "cell": "One teacher, stop, student and method over all seeds: one row of most tables.",
    "checkpoint": "The weights of the full training after some epoch; checkpoint 12 is a teacher "
    "with the weights after epoch 12.",
    "contrast": "One of the differences that make up a claim.",
    "ECE": "The expected calibration error.",
    "ensemble": "The average of the predictions of several networks.",
    "ESKD": "KD that stops before the student's training ends; the remaining epochs are trained on "
    "the labels.",
    "full KD": "KD to the end of the student's training.",
    "generation": "One step of a path whose networks are all alike.",
    "KD error": "How often a student and its teacher disagree, in points.",
    "look": "A planned analysis before all seeds are finished.",
    "mark": "The word beside a difference: better, worse, cannot tell, or no spread (all seeds "
    "have the same value).",
    "multiply-adds": "The number of multiplications that a network needs for one image; half of "
    "its FLOPs.",
    "NLL": "Cross-entropy with the labels, measured on held-out images.",
    "schedule": "A separate training with fewer epochs, in which the learning rate is fully "
    "annealed; schedule 12 is such a teacher of 12 epochs.",
    "scratch": "The same student trained on labels alone, without a teacher.",
    "stop": "The epoch at which a teacher's training ends; full is the whole recipe.",
}

_PATTERN = re.compile(
    rf"(?<![\w-])({'|'.join(sorted(map(re.escape, WORDS), key=len, reverse=True))})s?(?![\w-])"
)


def make_word_id(word: str) -> str:
    """Return the id of the definition of a word."""
    return f"word-{word.replace(' ', '-')}"


def link_words(text: str) -> Markup:
    """Return a text as HTML in which each known word, where it first stands, links to what it is.

    Parameters
    ----------
    text : str
        A caption; its own markup is escaped.
    """
    linked = set()

    def link(match: re.Match) -> str:
        word = match[1]
        if word in linked:
            return match[0]
        linked.add(word)
        return f'<a class="word" href="#{make_word_id(word)}">{match[0]}</a>'

    return Markup(_PATTERN.sub(link, str(escape(text))))
