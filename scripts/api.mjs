// Writes or checks the API reports in etc/, one per entry point of package.json.
//
//   node scripts/api.mjs            fails where a report differs from what dist/ declares
//   node scripts/api.mjs --update   rewrites the reports
//
// Both fail at exports that are undocumented, without a release tag, or forgotten. Needs dist/.

import { mkdirSync, readFileSync } from 'node:fs';
import { Extractor, ExtractorConfig, ExtractorLogLevel } from '@microsoft/api-extractor';

const update = process.argv.includes('--update');
const root = process.cwd();
const base = ExtractorConfig.loadFile('api-extractor.json');
const { name, exports } = JSON.parse(readFileSync('package.json', 'utf8'));

/** Names that `.` exports: another entry may use them without exporting them again. */
const rootNames = new Set();
let failed = false;

mkdirSync('etc', { recursive: true });
// `.` stands first in package.json.
for (const [subpath, target] of Object.entries(exports)) {
  if (!target.types) continue;
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
      const [, symbol] = /^The symbol "(\w+)" needs to be exported/.exec(message.text) ?? [];
      if (rootNames.has(symbol)) message.logLevel = ExtractorLogLevel.None;
      if (message.messageId === 'console-compiler-version-notice') message.handled = true;
    },
  });
  failed ||= !succeeded;
  console.log(`etc/${reportFileName}.api.md: ${succeeded ? 'ok' : 'FAILED'}`);

  if (subpath === '.') {
    const report = readFileSync(`temp/${reportFileName}.api.md`, 'utf8');
    for (const [, symbol] of report.matchAll(
      /^export .*?(?:class|const|enum|function|interface|type) (\w+)/gm,
    )) {
      rootNames.add(symbol);
    }
  }
}
if (failed && !update)
  console.error('If the change is meant: npm run api:update, and review etc/.');
process.exitCode = failed ? 1 : 0;
