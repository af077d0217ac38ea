"""Training and evaluation of the models of an artifact. Needs the artifact folder alone, never the
compiler."""
