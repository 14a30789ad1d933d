"""A corpus of bad and odd media, made from scratch, and what each of its files must give."""
