"""Choosers: which of several actions is best, by a language model or by chance."""
