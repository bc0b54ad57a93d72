// Writes or checks the API reports in etc/, one per entry point of package.json.
//
//   node scripts/api.mjs            fails where a report differs from what dist/ declares
//   node scripts/api.mjs --update   rewrites the reports
//
// Both fail at exports that are undocumented, without a release tag, or forgotten. Needs dist/.

import { mkdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Extractor, ExtractorConfig, ExtractorLogLevel } from '@microsoft/api-extractor';

const update = process.argv.includes('--update');
const root = process.cwd();
const base = ExtractorConfig.loadFile('api-extractor.json');
const { name, exports } = JSON.parse(readFileSync('package.json', 'utf8'));
const entries = Object.entries(exports).filter(([, target]) => target.types);

/** What some entry exports, which another may use, or link to, without exporting it again. */
const exported = new Set();
for (const [, target] of entries) {
  const entry = await import(pathToFileURL(resolve(target.default)).href);
  for (const symbol of Object.keys(entry)) exported.add(symbol);
}

let failed = false;
mkdirSync('etc', { recursive: true });
// In the order of package.json: `.` stands first, and a folder before what is below it.
for (const [subpath, target] of entries) {
  // `.` is kcont.api.md, `./timers/promises` is kcont-timers-promises.api.md
  const reportFileName = name + subpath.slice(1).replaceAll('/', '-');
  const config = ExtractorConfig.prepare({
    configObjectFullPath: `${root}/api-extractor.json`,
    packageJsonFullPath: `${root}/package.json`,
    configObject: {
      ...base,
      projectFolder: root,
      mainEntryPointFilePath: target.types.replace('./', '<projectFolder>/'),
      apiReport: { enabled: true, ...base.apiReport, reportFileName },
    },
  });
  const { succeeded } = Extractor.invoke(config, {
    localBuild: update,
    messageCallback(message) {
      const [, symbol] =
        /^The symbol "(\w+)" needs to be exported|does not have an export "(\w+)"$/
          .exec(message.text)
          ?.filter((group) => group !== undefined) ?? [];
      const isPreamble = message.messageId === 'console-preamble';
      // A class of another entry whose name this entry has too is called `Semaphore_2` here.
      if (exported.has(symbol?.replace(/_\d+$/, '')) || isPreamble)
        message.logLevel = ExtractorLogLevel.None;
    },
  });
  failed ||= !succeeded;
  console.log(`etc/${reportFileName}.api.md: ${succeeded ? 'ok' : 'FAILED'}`);

  // A subpath may use the types of those before it.
  const report = readFileSync(`temp/${reportFileName}.api.md`, 'utf8');
  const types = /^export (?:declare )?(?:abstract )?(?:class|interface|type) (\w+)/gm;
  for (const [, symbol] of report.matchAll(types)) exported.add(symbol);
}
if (failed && !update)
  console.error('If the change is meant: npm run api:update, and review etc/.');
process.exitCode = failed ? 1 : 0;
