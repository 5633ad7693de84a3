"""Everything that speaks to a model; each heavy library is imported when it is used."""
