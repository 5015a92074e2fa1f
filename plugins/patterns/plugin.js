// Drops texts by regular expressions: those that match one of `drop`, and those that do not match all of `require`.

import { ConfigError, filterPlugin, option } from './sdk/ruminate.js';

export default filterPlugin({
  name: 'patterns',
  version: '0.1.0',
  summary: 'drops texts that match one of `drop` or do not match all of `require`',
  options: {
    field: option.text('reasoning', 'the field that is read'),
    drop: option.texts([], 'regular expressions of JavaScript; a text in which one is found is dropped'),
    require: option.texts([], 'regular expressions that must all be found'),
    ignore_case: option.boolean(false, 'whether case does not count'),
    multiline: option.boolean(false, 'whether ^ and $ match at every line'),
  },

  configure({ field, drop, require, ignore_case, multiline }) {
    if (drop.length + require.length === 0) {
      throw new ConfigError('there is nothing to look for: give `drop` or `require` at least one regular expression');
    }
    const flags = `u${ignore_case ? 'i' : ''}${multiline ? 'm' : ''}`;
    return { field, drop: compile('drop', drop, flags), require: compile('require', require, flags) };
  },

  reads: ({ field }) => ({ [field]: 'text' }),

  keep(row, { field, drop, require }) {
    const text = row[field] ?? '';
    const found = drop.find((pattern) => pattern.test(text));
    if (found !== undefined) return `matches ${found}`;
    const missing = require.find((pattern) => !pattern.test(text));
    return missing === undefined ? true : `does not match ${missing}`;
  },
});

function compile(key, sources, flags) {
  return sources.map((source, index) => {
    try {
      return new RegExp(source, flags);
    } catch (error) {
      throw new ConfigError(`\`${key}\` entry ${index}, \`${source}\`, is not a regular expression: ${error.message}`);
    }
  });
}
