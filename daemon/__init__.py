"""The shell: stages, store, scheduling, rollout. The only room that knows the others."""


def version() -> str:
    """The installed version."""
    from importlib import metadata  # takes as long to import as the whole command line

    return metadata.version("rlaifd")
