"""Models: text in, completion or trained weights out."""
