"""The name under which an answer was served: what servers make of an adapter's name."""


def spellings(model: str) -> tuple[str, ...]:
    """The names of adapters that a response's model may mean, the likeliest first.

    Servers answer with the name itself, with a path that ends in it, or with a revision behind it
    (`/adapters/NAME@main`), and gateways put the provider before it (`hosted_vllm/NAME`).
    """
    plain = model.split("@", 1)[0].rstrip("/")
    return tuple(dict.fromkeys(name for name in (model, plain, plain.rsplit("/", 1)[-1]) if name))
