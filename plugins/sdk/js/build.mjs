// Builds a plugin written in JavaScript: `node build.mjs KIND WIT_FOLDER PLUGIN_FOLDER OUT`. KIND is filter, mapper or
// reward; WIT_FOLDER holds plugin.wit; PLUGIN_FOLDER holds plugin.js. Needs @bytecodealliance/componentize-js.

import { existsSync } from 'node:fs';
import { cp, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const FUNCTIONS = { filter: 'filter', mapper: 'transform', reward: 'score' };
const [kind, wit, folder, out] = process.argv.slice(2);
if (!Object.hasOwn(FUNCTIONS, kind ?? '') || out === undefined) {
  fail('usage: node build.mjs filter|mapper|reward WIT_FOLDER PLUGIN_FOLDER OUT');
}
const sdk = dirname(fileURLToPath(import.meta.url));
const componentize = await compiler();
// The component sees the files below the working folder only, and messages name them as they are called there.
const stage = await realpath(await mkdtemp(join(tmpdir(), 'ruminate-js-')));
try {
  const source = (path) => path === folder || (basename(path) !== 'node_modules' && !path.endsWith('.wasm'));
  await cp(folder, stage, { recursive: true, filter: source });
  await cp(sdk, join(stage, 'sdk'), { recursive: true, filter: source });
  await writeFile(join(stage, 'world-entry.js'), entry());
  const [witPath, path] = [resolve(wit), resolve(out)];
  process.chdir(stage);
  const built = await componentize({
    sourcePath: join(stage, 'world-entry.js'),
    witPath,
    worldName: kind,
    disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
  });
  await writeFile(path, built.component);
} catch (error) {
  console.error(`\`${join(folder, 'plugin.js')}\` does not build: ${error.message}`);
  process.exitCode = 1;
} finally {
  await rm(stage, { recursive: true, force: true });
}

/** componentize-js, from the nearest `node_modules` above the plugin or the SDK, or from NODE_PATH. */
async function compiler() {
  const above = (path) => (dirname(path) === path ? [path] : [path, ...above(dirname(path))]);
  const modules = [...above(resolve(folder)), ...above(sdk)].map((place) => join(place, 'node_modules'));
  for (const place of [...modules, ...(process.env.NODE_PATH ?? '').split(delimiter).filter(Boolean)]) {
    const main = join(place, '@bytecodealliance/componentize-js/src/componentize.js');
    if (existsSync(main)) return (await import(pathToFileURL(main))).componentize;
  }
  return fail(`\`@bytecodealliance/componentize-js\` is not installed: run \`npm install\` in \`${folder}\``);
}

/** The module that the engine starts: it must export the names of the world. */
function entry() {
  return `import { log } from 'ruminate:plugin/logging@0.1.0';
import { bind } from './sdk/world.js';
import plugin from './plugin.js';
const { lifecycle, batch } = bind(plugin, ${JSON.stringify(kind)}, log);
export { lifecycle, batch as ${FUNCTIONS[kind]} };
`;
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
