"""Ruminate's SDK for plugins in Python: the author writes one function per record, this file does the rest (options with
defaults, their JSON Schema, readable errors). Knows no world: `ruminate_world.py` ties it to the engine. Also runs in any
Python from 3.11.

No clock, files, network or randomness: a plugin starts afresh for each batch, and its result for a row must depend on
that row and the config alone. So `time.time()`, `time.sleep()`, `open()`, `os.urandom()` and the functions of `random`
raise inside the engine (`random.Random(seed)` and `time.gmtime(seconds)` work); `datetime.now()`, which cannot be replaced,
traps. `hash()` of texts, and with it the order of sets, is fixed when the plugin is built: sort what you take out of a
set. Import everything at the top of a module, since there are no files to import from later. `print` writes to the
run's log.
"""

import json
import sys
from types import SimpleNamespace

__all__ = ["ConfigError", "filter_plugin", "log", "mapper_plugin", "option", "reward_plugin"]


class ConfigError(Exception):
    """What an author raises where the config is wrong: the graph's reader sees the message alone."""


class _Option:
    """One option of a config: its kind, its default (None: it is required), one line of help, and limits."""

    def __init__(self, kind, default, help, choices=None, min=None, max=None):
        self.kind, self.default, self.help = kind, default, help
        self.choices, self.min, self.max = choices, min, max

    def schema(self):
        types = {"text": "string", "int": "integer", "float": "number", "boolean": "boolean", "texts": "array"}
        schema = {"type": types[self.kind]}
        if self.kind == "text":
            schema["minLength"] = 1
        if self.kind == "texts":
            schema["items"] = {"type": "string", "minLength": 1}
        limits = {"enum": self.choices, "minimum": self.min, "maximum": self.max, "default": self.default}
        schema.update({key: value for key, value in limits.items() if value is not None})
        if self.help:
            schema["description"] = self.help
        return schema

    def wanted(self):
        if self.kind == "text" and self.choices:
            return "one of " + ", ".join(f"`{text}`" for text in self.choices)
        if self.kind in ("text", "texts", "boolean"):
            return {
                "text": "a text that is not empty",
                "texts": "a list of texts that are not empty",
                "boolean": "a boolean",
            }[self.kind]
        number = "a whole number" if self.kind == "int" else "a number"
        if self.min is not None and self.max is not None:
            return f"{number} from {self.min} to {self.max}"
        if self.min is not None:
            return f"{number} of at least {self.min}"
        return number if self.max is None else f"{number} of at most {self.max}"

    def read(self, key, value):
        """The value for the plugin. Raises a `ConfigError` if `value` does not fit."""
        if value is None:
            raise ConfigError(f"`{key}` must be {self.wanted()}, not null")
        if self.kind == "texts" and isinstance(value, list):
            for index, text in enumerate(value):
                if not isinstance(text, str) or not text:
                    raise ConfigError(f"`{key}` must be {self.wanted()}; entry {index} is {_describe(text)}")
            return value
        if not self._fits(value):
            raise ConfigError(f"`{key}` must be {self.wanted()}, not {_describe(value)}")
        return float(value) if self.kind == "float" else value

    def _fits(self, value):
        if self.kind == "text":
            return isinstance(value, str) and value != "" and (self.choices is None or value in self.choices)
        if self.kind == "boolean":
            return isinstance(value, bool)
        numbers = {"int": (int,), "float": (int, float), "texts": ()}[self.kind]
        if not isinstance(value, numbers) or isinstance(value, bool):
            return False
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class option:
    """The kinds of options. A default of None makes the option required."""

    @staticmethod
    def text(default, help="", choices=None):
        """A text that is not empty; with `choices`, one of them."""
        return _Option("text", default, help, choices=choices)

    @staticmethod
    def int(default, help="", min=None, max=None):
        """A whole number."""
        return _Option("int", default, help, min=min, max=max)

    @staticmethod
    def float(default, help="", min=None, max=None):
        """A number."""
        return _Option("float", default, help, min=min, max=max)

    @staticmethod
    def boolean(default, help=""):
        return _Option("boolean", default, help)

    @staticmethod
    def texts(default, help=""):
        """A list of texts that are not empty."""
        return _Option("texts", default, help)


class log:
    """Writes to the run's log: the engine keeps the first lines of each batch."""

    write = staticmethod(lambda level, message: sys.__stderr__.write(f"{level}: {message}\n"))

    @staticmethod
    def debug(message):
        log.write("debug", str(message))

    @staticmethod
    def info(message):
        log.write("info", str(message))

    @staticmethod
    def warn(message):
        log.write("warn", str(message))


class _Plugin:
    """A decorated function. Calling it calls the function, so that it can be tested in any Python."""

    def __init__(self, kind, run, name, version, summary, options, configure, reads, writes):
        self.kind, self.run, self.name, self.version, self.summary = kind, run, name, version, summary
        self.options, self.prepare, self.reads, self.writes = options or {}, configure, reads, writes
        registered.append(self)

    def __call__(self, row, options):
        return self.run(row, options)

    def schema(self):
        """The JSON Schema of the config."""
        properties = {name: option.schema() for name, option in self.options.items()}
        required = [name for name, option in self.options.items() if option.default is None]
        schema = {"type": "object", "properties": properties, "additionalProperties": False}
        return schema | ({"required": required} if required else {})

    def configure(self, config_json):
        """The options for the function, and the fields that it reads and writes. Raises a `ConfigError`."""
        options = SimpleNamespace(**self._parse(config_json))
        if self.prepare is not None:
            prepared = self.prepare(options)
            options = options if prepared is None else prepared
        fields = [which(options) if callable(which) else which or {} for which in (self.reads, self.writes)]
        return options, *fields

    def _parse(self, config_json):
        try:
            config = json.loads(config_json)
        except ValueError as error:
            raise ConfigError(f"the config is not JSON: {error}") from error
        if not isinstance(config, dict):
            raise ConfigError(f"the config must be a table, not {_describe(config)}")
        for key in config:
            if key not in self.options:
                known = ", ".join(f"`{name}`" for name in self.options) or "no keys"
                raise ConfigError(f"unknown key `{key}`: expected {known}")
        values = {}
        for key, known in self.options.items():
            if key not in config and known.default is None:
                raise ConfigError(f"`{key}` is missing: it must be {known.wanted()}")
            values[key] = known.read(key, config[key]) if key in config else known.default
        return values


# Every decorated function; `ruminate_world` expects exactly one.
registered = []


def filter_plugin(*, name, version, summary, options=None, configure=None, reads=None):
    """Makes `keep(row, options)` a filter: it gives True, or the reason for the drop (the same for the same cause).

    `row` is a dict of the fields in `reads`, a dict of field names to kinds (`{"reasoning": "text"}`) or a function of the
    options that gives one. `options` maps names to `option.text(...)` and its like; `configure(options)` may check them
    (raise a `ConfigError`) and may give what the function gets in their place.
    """
    return lambda run: _Plugin("filter", run, name, version, summary, options, configure, reads, None)


def mapper_plugin(*, name, version, summary, options=None, configure=None, reads=None, writes=None):
    """Makes `transform(row, options)` a mapper: it gives a dict of the fields in `writes`, a list of them, or None."""
    return lambda run: _Plugin("mapper", run, name, version, summary, options, configure, reads, writes)


def reward_plugin(*, name, version, summary, options=None, configure=None, reads=None):
    """Makes `score(row, options)` a reward: it gives a finite number, or a pair of a number and a note."""
    return lambda run: _Plugin("reward", run, name, version, summary, options, configure, reads, None)


def explain(error):
    """An exception in one line: its type and text, and the innermost place in the author's own files."""
    if isinstance(error, ConfigError):
        return str(error)
    place, trace = "", error.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        file = path.rsplit("/", 1)[-1]
        foreign = path.startswith("<") or "site-packages" in path or "/python" in path
        if not foreign and file not in ("ruminate_plugin.py", "ruminate_world.py"):
            place = f" ({file}:{trace.tb_lineno})"
        trace = trace.tb_next
    text = str(error)
    return f"{type(error).__name__}{': ' + text if text else ''}{place}"


def _describe(value):
    """A JSON value in a few words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {json.dumps(value, ensure_ascii=False)}"
    return "a list" if isinstance(value, list) else "a table"
