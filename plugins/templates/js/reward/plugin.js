// Scores a completion by its length: 1 up to `target` tokens, then less, down to 0 at twice as many.

import { option, rewardPlugin } from './sdk/ruminate.js';

export default rewardPlugin({
  name: '{{name}}',
  version: '0.1.0',
  summary: 'scores short completions higher',
  options: { target: option.int(200, 'up to so many tokens the score is 1', { min: 1 }) },
  reads: { tokens: 'int' },

  score(row, { target }) {
    const over = row.tokens - target;
    if (over <= 0) return 1;
    return { value: Math.max(0, 1 - over / target), note: `${over} tokens over the target` };
  },
});
