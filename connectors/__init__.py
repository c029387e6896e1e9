"""One file per outside system: log sources, judges, serving targets. Imports policies only."""
