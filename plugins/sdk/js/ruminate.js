// Ruminate's SDK for plugins in JavaScript: the author writes one function per record, this file does the rest (options
// with defaults, their JSON Schema, readable errors). Knows no world: `world.js` ties it to the engine. Also runs in Node.
//
// No clock and no randomness: a plugin starts afresh for each batch, and its result for a row must depend on that row and
// the config alone. So `Date.now()`, `new Date()`, `performance.now()`, `Math.random()`, `crypto`, timers and `fetch` throw
// inside the engine (`new Date(milliseconds)` works). `console.log` goes nowhere; write with `log.info(text)`. The
// interpreter is SpiderMonkey without Intl: no `\p{...}` in regular expressions, no `normalize()`.

/** What an author throws where the config is wrong: the graph's reader sees the message alone. */
export class ConfigError extends Error {
  constructor(message) {
    super(message);
    this.name = 'ConfigError';
  }
}

let sink = (level, message) => globalThis.console?.error(`${level}: ${message}`);

/** Writes to the run's log: the engine keeps the first lines of each batch. `debug` shows with `RUST_LOG=debug`. */
export const log = Object.freeze({
  debug: (message) => sink('debug', String(message)),
  info: (message) => sink('info', String(message)),
  warn: (message) => sink('warn', String(message)),
});

/** Options of a config: a default (`undefined`: the option is required), one line of help, and limits. */
export const option = Object.freeze({
  /** A text that is not empty; with `choices`, one of them. */
  text: (value, help, { choices } = {}) => ({ kind: 'text', value, help, choices }),
  /** A whole number. */
  int: (value, help, { min, max } = {}) => ({ kind: 'int', value, help, min, max }),
  /** A number. */
  float: (value, help, { min, max } = {}) => ({ kind: 'float', value, help, min, max }),
  boolean: (value, help) => ({ kind: 'boolean', value, help }),
  /** A list of texts that are not empty. */
  texts: (value, help) => ({ kind: 'texts', value, help }),
});

/** A filter. `keep(row, options)` gives `true`, or the reason for the drop as a text (the same for the same cause). */
export const filterPlugin = (plugin) => checked('filter', 'keep', plugin);

/** A mapper. `map(row, options)` gives an object of the fields in `writes`, a list of them, or `null` for none. */
export const mapperPlugin = (plugin) => checked('mapper', 'map', plugin);

/** A reward. `score(row, options)` gives a finite number, or `{ value, note }`. */
export const rewardPlugin = (plugin) => checked('reward', 'score', plugin);

function checked(kind, method, plugin) {
  const fault = (what) => new TypeError(`a plugin of the kind ${kind} ${what}`);
  for (const key of ['name', 'version', 'summary']) {
    if (typeof plugin?.[key] !== 'string' || plugin[key] === '') throw fault(`needs \`${key}\`, a text`);
  }
  if (typeof plugin[method] !== 'function') throw fault(`needs the function \`${method}(row, options)\``);
  const known = ['name', 'version', 'summary', 'options', 'configure', 'reads', 'writes', method];
  const extra = Object.keys(plugin).find((key) => !known.includes(key));
  if (extra !== undefined) throw fault(`has no \`${extra}\`: expected ${known.map((key) => `\`${key}\``).join(', ')}`);
  if (kind !== 'mapper' && plugin.writes !== undefined) throw fault('writes no fields');
  return { kind, run: plugin[method], options: {}, reads: {}, writes: {}, ...plugin };
}

const TYPES = { text: 'string', int: 'integer', float: 'number', boolean: 'boolean', texts: 'array' };

/** The JSON Schema of a config. */
export function schema(options) {
  const property = ({ kind, value, help, choices, min, max }) => ({
    type: TYPES[kind],
    ...(kind === 'text' && { minLength: 1 }),
    ...(kind === 'texts' && { items: { type: 'string', minLength: 1 } }),
    ...(choices && { enum: choices }),
    ...(min !== undefined && { minimum: min }),
    ...(max !== undefined && { maximum: max }),
    ...(value !== undefined && { default: value }),
    ...(help && { description: help }),
  });
  const properties = Object.fromEntries(Object.entries(options).map(([name, option]) => [name, property(option)]));
  const required = Object.keys(options).filter((name) => options[name].value === undefined);
  return { type: 'object', properties, additionalProperties: false, ...(required.length > 0 && { required }) };
}

/** The options in `json`, with the defaults for those that are not there. Throws a `ConfigError`. */
export function parseConfig(json, options) {
  let config;
  try {
    config = JSON.parse(json);
  } catch (error) {
    throw new ConfigError(`the config is not JSON: ${error.message}`);
  }
  if (config === null || typeof config !== 'object' || Array.isArray(config)) {
    throw new ConfigError(`the config must be a table, not ${describe(config)}`);
  }
  const known = Object.keys(options);
  const unknown = Object.keys(config).find((key) => !Object.hasOwn(options, key));
  if (unknown !== undefined) {
    const expected = known.length > 0 ? known.map((key) => `\`${key}\``).join(', ') : 'no keys';
    throw new ConfigError(`unknown key \`${unknown}\`: expected ${expected}`);
  }
  return Object.fromEntries(known.map((key) => [key, read(key, config[key], options[key])]));
}

function read(key, given, option) {
  const value = given === undefined ? option.value : given;
  if (value === undefined) throw new ConfigError(`\`${key}\` is missing: it must be ${wanted(option)}`);
  if (option.kind === 'texts' && Array.isArray(value)) {
    const index = value.findIndex((text) => !isText(text));
    if (index < 0) return value;
    const what = `\`${key}\` must be ${wanted(option)}; entry ${index} is ${describe(value[index])}`;
    throw new ConfigError(what);
  }
  if (!fits(value, option)) throw new ConfigError(`\`${key}\` must be ${wanted(option)}, not ${describe(value)}`);
  return value;
}

const isText = (value) => typeof value === 'string' && value !== '';

function fits(value, { kind, choices, min = -Infinity, max = Infinity }) {
  const inside = value >= min && value <= max;
  switch (kind) {
    case 'text': return isText(value) && (choices === undefined || choices.includes(value));
    case 'int': return Number.isSafeInteger(value) && inside;
    case 'float': return Number.isFinite(value) && inside;
    case 'boolean': return typeof value === 'boolean';
    default: return false;
  }
}

function wanted({ kind, choices, min, max }) {
  if (kind === 'text') {
    return choices ? `one of ${choices.map((text) => `\`${text}\``).join(', ')}` : 'a text that is not empty';
  }
  if (kind === 'texts') return 'a list of texts that are not empty';
  if (kind === 'boolean') return 'a boolean';
  const number = kind === 'int' ? 'a whole number' : 'a number';
  if (min !== undefined && max !== undefined) return `${number} from ${min} to ${max}`;
  if (min !== undefined) return `${number} of at least ${min}`;
  return max === undefined ? number : `${number} of at most ${max}`;
}

/** A JSON value in a few words. */
function describe(value) {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'boolean': return `the boolean ${value}`;
    case 'number': return `the number ${value}`;
    case 'string': return `the text ${JSON.stringify(value)}`;
    default: return 'a table';
  }
}

/** An error in one line: its name and message, and the place in the author's own files. */
export function explain(error) {
  if (error instanceof ConfigError) return error.message;
  if (!(error instanceof Error)) return `thrown: ${String(error)}`;
  const own = String(error.stack ?? '').split('\n').map((line) => line.match(/([^\s/@(]+\.m?js):(\d+)/))
    .find((place) => place && !['ruminate.js', 'world.js', 'initializer.js'].includes(place[1]));
  return `${error.name}: ${error.message}${own ? ` (${own[1]}:${own[2]})` : ''}`;
}

/** Where `log` writes: called once by `world.js`. */
export const logTo = (write) => { sink = write; };
