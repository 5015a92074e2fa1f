// Drops texts of more than so many words: the same work and the same options as plugins/max-words.

import { filterPlugin, option } from './sdk/ruminate.js';

export default filterPlugin({
  name: 'words',
  version: '0.1.0',
  summary: 'drops records whose text has more than so many words',
  options: {
    field: option.text('reasoning', 'the field whose words are counted'),
    max: option.int(500, 'the most words that pass', { min: 1 }),
  },
  reads: ({ field }) => ({ [field]: 'text' }),
  keep: (row, { field, max }) => (row[field] ?? '').split(/\s+/).filter(Boolean).length <= max || `more than ${max} words`,
});
