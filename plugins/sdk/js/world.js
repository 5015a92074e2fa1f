// Ties a plugin to the engine's worlds: turns WIT rows into plain objects and answers back, and every exception into an
// error with a message. Not for authors: `build.mjs` puts it between the plugin and the engine.

import { explain, logTo, parseConfig, schema } from './ruminate.js';

/** The exports of a plugin: `lifecycle` and `batch`, its world's function. `write(level, message)` is the engine's. */
export function bind(plugin, kind, write) {
  if (plugin?.kind !== kind) {
    const given = plugin?.kind === undefined ? 'something else' : `a ${plugin.kind}`;
    throw new TypeError(`plugin.toml says \`kind = "${kind}"\`, and \`export default\` in plugin.js gives ${given}`);
  }
  logTo(write);
  seal();
  let state;
  const refuse = (error) => {
    const message = explain(error);
    write('error', message);
    // componentize-js takes a thrown text for the `err` of a `result`.
    throw message;
  };
  const guarded = (work) => (...given) => {
    try {
      return work(...given);
    } catch (error) {
      return refuse(error);
    }
  };
  const configure = guarded((json) => {
    const options = parseConfig(json, plugin.options);
    const given = plugin.configure === undefined ? options : plugin.configure(options) ?? options;
    const fields = (which) => (typeof which === 'function' ? which(given) : which);
    state = { given, writes: fields(plugin.writes) };
    return { reads: columns(fields(plugin.reads)), writes: columns(state.writes) };
  });
  const batch = guarded((rows) => {
    if (state === undefined) throw new Error('`configure` was not called');
    return rows.map((row) => ANSWERS[kind](plugin.run(plainRow(row), state.given), state.writes));
  });
  const { name, version, summary } = plugin;
  const describe = () => ({ name, version, summary, configSchema: JSON.stringify(schema(plugin.options)) });
  return { lifecycle: { describe, configure }, batch };
}

const columns = (fields) => Object.entries(fields).map(([name, kind]) => ({ name, kind }));

// The prototype is null so that a field may be called `__proto__`.
function plainRow({ id, fields }) {
  const row = Object.create(null);
  for (const { name, value } of fields) row[name] = plainValue(value);
  Object.defineProperty(row, 'id', { value: id });
  return row;
}

function plainValue({ tag, val }) {
  if (tag === 'null') return null;
  if (tag === 'json') return JSON.parse(val);
  if (tag === 'int') return Number.isSafeInteger(Number(val)) ? Number(val) : val;
  return val;
}

/** What a plugin's function returns, as its world's answer. */
const ANSWERS = {
  filter(answer) {
    if (answer === true) return { tag: 'keep' };
    if (answer === false) return { tag: 'drop', val: 'dropped without a reason' };
    if (typeof answer === 'string') return { tag: 'drop', val: answer };
    throw new TypeError(`\`keep\` gave ${nameOf(answer)}: expected true, or the reason for the drop as a text`);
  },
  mapper(answer, writes) {
    const rows = answer === null ? [] : Array.isArray(answer) ? answer : [answer];
    return rows.map((row) => {
      if (row === null || typeof row !== 'object') {
        throw new TypeError(`\`map\` gave ${nameOf(row)}: expected an object of fields, a list of them, or null`);
      }
      const field = ([name, value]) => ({ name, value: witValue(name, value, writes[name]) });
      return { id: '', fields: Object.entries(row).filter(([, value]) => value !== undefined).map(field) };
    });
  },
  reward(answer) {
    const { value, note = null } = answer !== null && typeof answer === 'object' ? answer : { value: answer };
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      throw new TypeError(`\`score\` gave ${nameOf(value)}: expected a finite number, or { value, note }`);
    }
    return { value, note: note === null ? undefined : String(note) };
  },
};

function witValue(name, value, kind) {
  if (kind === undefined) throw new TypeError(`field \`${name}\` is not among the fields in \`writes\``);
  if (value === null) return { tag: 'null' };
  const fits = {
    boolean: () => typeof value === 'boolean' && { tag: 'boolean', val: value },
    int: () => (Number.isSafeInteger(value) || typeof value === 'bigint') && { tag: 'int', val: BigInt(value) },
    float: () => typeof value === 'number' && { tag: 'float', val: value },
    text: () => typeof value === 'string' && { tag: 'text', val: value },
    image: () => value instanceof Uint8Array && { tag: 'bytes', val: value },
  }[kind];
  const json = () => ({ tag: 'json', val: JSON.stringify(value) });
  const given = (fits ?? json)();
  if (!given) throw new TypeError(`field \`${name}\` is ${nameOf(value)}, declared as \`${kind}\``);
  return given;
}

function nameOf(value) {
  if (value === null || value === undefined || typeof value === 'number') return String(value);
  return Array.isArray(value) ? 'a list' : `a value of the type ${typeof value}`;
}

/** Takes away the clock and randomness that were frozen when the plugin was built, and what traps. */
function seal() {
  const refuse = (name, what) => () => {
    const why = `a plugin has no ${what}, its result depends on the row and the config alone`;
    throw new Error(`\`${name}\` is not there: ${why}`);
  };
  for (const name of ['setTimeout', 'setInterval']) globalThis[name] = refuse(name, 'clock');
  globalThis.fetch = refuse('fetch', 'network');
  const Clock = globalThis.Date;
  const now = refuse('Date.now', 'clock');
  globalThis.Date = new Proxy(Clock, {
    apply: now,
    construct: (target, given, self) => (given.length === 0 ? now() : Reflect.construct(target, given, self)),
  });
  Clock.now = now;
  Clock.prototype.constructor = globalThis.Date;
  if (globalThis.performance !== undefined) {
    Object.defineProperty(globalThis, 'performance', { value: { now: refuse('performance.now', 'clock') } });
  }
  Math.random = refuse('Math.random', 'randomness');
  if (globalThis.crypto !== undefined) {
    const entropy = refuse('crypto', 'randomness');
    Object.defineProperty(globalThis, 'crypto', { value: { getRandomValues: entropy, randomUUID: entropy } });
  }
}
