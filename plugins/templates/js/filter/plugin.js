// Drops texts of more words than `max`.

import { filterPlugin, option } from './sdk/ruminate.js';

export default filterPlugin({
  name: '{{name}}',
  version: '0.1.0',
  summary: 'drops texts of more words than `max`',
  options: {
    field: option.text('reasoning', 'the field that is read'),
    max: option.int(200, 'the most words that a text may have', { min: 1 }),
  },
  reads: ({ field }) => ({ [field]: 'text' }),

  // True keeps the record; a text is the reason for its drop.
  keep(row, { field, max }) {
    const words = (row[field] ?? '').match(/\S+/g)?.length ?? 0;
    return words <= max || `more than ${max} words`;
  },
});
