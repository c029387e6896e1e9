"""How a job ends early. Each message is one line for a person."""


class JobError(Exception):
    """The job cannot be done as asked."""


class StoppedError(Exception):
    """The job was asked to stop before it had anything to leave behind."""
