// Makes one record of each paragraph of a text.

import { mapperPlugin, option } from './sdk/ruminate.js';

export default mapperPlugin({
  name: '{{name}}',
  version: '0.1.0',
  summary: 'makes one record of each paragraph',
  options: { field: option.text('reasoning', 'the field that is read and written') },
  reads: ({ field }) => ({ [field]: 'text' }),
  writes: ({ field }) => ({ [field]: 'text', paragraph: 'int' }),

  // An empty list drops the record.
  map(row, { field }) {
    const paragraphs = (row[field] ?? '').split(/\n\s*\n/).map((text) => text.trim()).filter(Boolean);
    return paragraphs.map((text, paragraph) => ({ [field]: text, paragraph }));
  },
});
