"""IFBench's checks (Pyatkin et al. 2025, "Generalizing Verifiable Instruction Following"), but for `NOT_CHECKED`.

Where an instruction compares each sentence with the one before it, an answer of one sentence does not follow it:
nothing was compared. Words are those of `texts.words`, sentences those of `texts.sentences`.
"""

NOT_CHECKED = {
    "ratio:stop_words": "its list of stop words is a download of NLTK's",
    "words:start_verb": "a model would have to say which words are verbs",
    "words:odd_even_syllables": "a dictionary of pronunciations would have to count the syllables",
}
"""Known ids without a check, each with the reason."""
