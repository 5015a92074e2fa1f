"""Scores a completion by its length: 1 up to `target` tokens, then less, down to 0 at twice as many."""

from ruminate_plugin import option, reward_plugin


@reward_plugin(
    name="{{name}}",
    version="0.1.0",
    summary="scores short completions higher",
    options={"target": option.int(200, "up to so many tokens the score is 1", min=1)},
    reads={"tokens": "int"},
)
def score(row, options):
    """A number, or a pair of a number and a note."""
    over = row["tokens"] - options.target
    if over <= 0:
        return 1
    return max(0, 1 - over / options.target), f"{over} tokens over the target"
