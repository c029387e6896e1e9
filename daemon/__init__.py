"""The shell: stages, store, scheduling, rollout. The only room that knows the others."""

from importlib.metadata import version

__version__ = version("rlaifd")
