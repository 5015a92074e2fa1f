"""Ties a plugin to the engine's worlds: turns WIT rows into dicts and answers back, and every exception into an error with
a message. Not for authors: this is the module that componentize-py is told to build. Runs inside the engine only."""

import builtins
import json
import math
import os
import random
import sys
import time

import wit_world
from componentize_py_types import Err
from wit_world.imports import logging, types

import ruminate_plugin
from ruminate_plugin import explain

_LEVELS = {
    "debug": logging.Level.DEBUG,
    "info": logging.Level.INFO,
    "warn": logging.Level.WARN,
    "error": logging.Level.ERROR,
}


def _write(level, message):
    logging.log(_LEVELS[level], message)


class _Lines:
    """What stands in for stdout and stderr: whole lines go to the log."""

    def __init__(self):
        self._rest = ""

    def write(self, text):
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            _write("info", line)
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return False


def _absent(name, what, given=math.inf, real=None):
    """Stands in for the function `name`: it raises if it gets fewer than so many arguments, else it calls `real`."""

    def refuse(*arguments, **named):
        if len(arguments) + len(named) >= given:
            return real(*arguments, **named)
        raise RuntimeError(
            f"`{name}` is not there: a plugin has no {what}, its result depends on the row and the config alone"
        )

    return refuse


def _take_away(module, what, names):
    """Takes functions away; `gmtime:1` says that it takes one argument without which it would ask the machine."""
    for name, _, given in (name.partition(":") for name in names.split()):
        if hasattr(module, name):
            full = f"{module.__name__}.{name}".removeprefix("builtins.")
            setattr(module, name, _absent(full, what, int(given or 1 << 30), getattr(module, name)))


class _NoFiles:
    """The last finder of modules: those that were not imported while the plugin was built are not there."""

    @staticmethod
    def find_spec(name, _path=None, _target=None):
        raise ImportError(f"`{name}` was not imported when the plugin was built: import it at the top of plugin.py")


def _seal():
    """Takes away what would trap without a word in the engine, or be frozen when the plugin is built and so mislead."""
    clocks = "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns sleep"
    _take_away(time, "clock", f"{clocks} localtime:1 gmtime:1 ctime:1 asctime:1 strftime:2")
    _take_away(os, "randomness", "urandom getrandom")
    shared = [name for name in dir(random) if getattr(getattr(random, name), "__self__", None) is random._inst]
    _take_away(random, "randomness", " ".join([*shared, "SystemRandom"]))
    seed, no_seed = random.Random.seed, _absent("random.Random()", "randomness")
    random.Random.seed = lambda self, a=None, version=2: no_seed() if a is None else seed(self, a, version)
    _take_away(os, "files", "listdir scandir stat lstat open remove rename mkdir rmdir getcwd chdir")
    _take_away(builtins, "files", "open")
    _take_away(builtins, "console", "input")
    sys.stdin = None
    built_in = [finder for finder in sys.meta_path if getattr(finder, "__module__", "") == "_frozen_importlib"]
    sys.meta_path[:] = [*built_in, _NoFiles]


def _load():
    """The one plugin in plugin.py. It is imported while it is built: afterwards there are no files to import from."""
    import plugin  # noqa: F401

    kind = next(kind for kind, function in _FUNCTIONS.items() if hasattr(wit_world.WitWorld, function))
    found = ruminate_plugin.registered
    if len(found) != 1:
        raise SystemExit(f"plugin.py must make one function a plugin with `@{kind}_plugin(...)`: it makes {len(found)}")
    if found[0].kind != kind:
        raise SystemExit(f'plugin.toml says `kind = "{kind}"`, and the plugin in plugin.py is a {found[0].kind}')
    return found[0]


_FUNCTIONS = {"filter": "filter", "mapper": "transform", "reward": "score"}
_plugin = _load()
_options, _writes = None, {}
ruminate_plugin.log.write = _write
sys.stdout = sys.stderr = _Lines()
_seal()


def _refuse(error):
    message = explain(error).encode("utf-8", "replace").decode("utf-8")
    _write("error", message)
    return Err(message)


class Lifecycle:
    def describe(self):
        return types.Info(_plugin.name, _plugin.version, _plugin.summary, json.dumps(_plugin.schema()))

    def configure(self, config_json):
        global _options, _writes
        try:
            _options, reads, _writes = _plugin.configure(config_json)
            return types.Setup(_columns(reads), _columns(_writes))
        except BaseException as error:
            raise _refuse(error) from None


class WitWorld:
    """The functions of all three worlds: the engine calls the one of its own."""

    def filter(self, batch):
        return _each(batch, _verdict)

    def transform(self, batch):
        return _each(batch, _rows)

    def score(self, batch):
        return _each(batch, _score)


def _each(batch, answer):
    try:
        run = _plugin.run
        return [answer(run(_plain_row(row), _options)) for row in batch]
    except BaseException as error:
        raise _refuse(error) from None


def _columns(fields):
    return [types.Column(name, kind) for name, kind in fields.items()]


def _plain_row(row):
    return {field.name: _plain_value(field.value) for field in row.fields}


def _plain_value(value):
    if isinstance(value, types.Value_Text):
        return value.value
    if isinstance(value, types.Value_Null):
        return None
    return json.loads(value.value) if isinstance(value, types.Value_Json) else value.value


def _verdict(answer):
    if answer is True:
        return types.Verdict_Keep()
    if answer is False:
        return types.Verdict_Drop("dropped without a reason")
    if isinstance(answer, str):
        return types.Verdict_Drop(_text(answer))
    raise TypeError(f"the filter gave {_name_of(answer)}: expected True, or the reason for the drop as a text")


def _rows(answer):
    rows = [] if answer is None else answer if isinstance(answer, (list, tuple)) else [answer]
    for row in rows:
        if not isinstance(row, dict):
            raise TypeError(f"the mapper gave {_name_of(row)}: expected a dict of fields, a list of them, or None")
    return [types.Row("", [types.Field(name, _wit_value(name, value)) for name, value in row.items()]) for row in rows]


def _score(answer):
    value, note = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        wanted = "a finite number, or a pair of a number and a note"
        raise TypeError(f"the reward gave {_name_of(value)}: expected {wanted}")
    return types.Score(float(value), None if note is None else _text(str(note)))


def _wit_value(name, value):
    kind = _writes.get(name)
    if kind is None:
        raise TypeError(f"field `{name}` is not among the fields in `writes`")
    if value is None:
        return types.Value_Null()
    if kind == "boolean" and isinstance(value, bool):
        return types.Value_Boolean(value)
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63:
        return types.Value_Int(value)
    if kind == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return types.Value_Float(float(value))
    if kind == "text" and isinstance(value, str):
        return types.Value_Text(_text(value))
    if kind == "image" and isinstance(value, bytes):
        return types.Value_Bytes(value)
    if kind == "json" or kind.startswith("list<"):
        return types.Value_Json(json.dumps(value, allow_nan=False))
    raise TypeError(f"field `{name}` is {_name_of(value)}, declared as `{kind}`")


def _text(value):
    """`value`, which must be Unicode: half of a surrogate pair raises here, and would trap at the boundary."""
    value.encode("utf-8")
    return value


def _name_of(value):
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return f"a value of the type {type(value).__name__}"
