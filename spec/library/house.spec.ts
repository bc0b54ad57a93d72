// The rules of the repository that a program can check: imports, sizes, names, and that nothing depends
// on the machine it was written on.

import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { ROOT } from '../support/root.ts';

/**
 * The layers of lib, the highest first. A file imports files of its own folder or of a layer below; the
 * import of a type may also point up, but not to a folder that depends on the core. `.oxlintrc.json`
 * has the same rule for the linter.
 */
const LAYERS: readonly (readonly string[])[] = [
  ['index.ts', 'kern.ts', 'sync.ts'],
  ['compat/', 'pipeline/', 'cpu/', 'retry/', 'periodic/', 'limits/', 'observe/', 'durable/'],
  ['core/'],
  ['locks/'],
  ['time/'],
  ['base/'],
];
/** The folders above the core, on their own subpaths: no other folder imports them, nor they each other. */
const DEPENDENT = LAYERS[1] as readonly string[];
/** Lines of code, without blank lines and comments. */
const MAX_LINES = 350;

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** Every file below a folder of the repository, except those that git ignores. */
function filesBelow(folder: string): string[] {
  const ignored = new Set(['.git/', ...read('.gitignore').split('\n')]);
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    if (ignored.has(`${entry.name}/`) || entry.name === '.git') return [];
    return entry.isDirectory() ? filesBelow(path) : [path];
  });
}

/** The folder of a path below lib/, or the file at its top. */
function folderOf(path: string): string {
  const folder = LAYERS.flat().find((one) => path === one || path.startsWith(one));
  if (folder === undefined) throw new Error(`lib/${path} is in no folder of LAYERS`);
  return folder;
}

function layerOf(path: string): number {
  const folder = folderOf(path);
  return LAYERS.findIndex((folders) => folders.includes(folder));
}

function isDependent(path: string): boolean {
  return DEPENDENT.includes(folderOf(path));
}

/** Whether a file of lib may import another as a value; both paths are below lib/. */
function mayImport(from: string, to: string): boolean {
  if (folderOf(from) === folderOf(to)) return true;
  if (isDependent(to)) return false;
  return layerOf(to) > layerOf(from) || (layerOf(from) === 0 && layerOf(to) === 0);
}

/** The files of lib that a file of lib imports, with or without erased imports (`import type`). */
function importsOf(path: string, kind: 'values' | 'all'): string[] {
  const statement =
    /^(?:import|export)\s+(?<type>type\s+)?(?:[\w\s{},*]*?\s+from\s+)?'(?<to>\.[^']*)'|\bimport\('(?<lazy>\.[^']*)'\)/gm;
  return [...read(`lib/${path}`).matchAll(statement)]
    .filter(({ groups }) => kind === 'all' || groups?.['type'] === undefined)
    .map(({ groups }) => posix.join(dirname(path), groups?.['to'] ?? groups?.['lazy'] ?? ''));
}

const lib = filesBelow('lib').map((path) => path.slice('lib/'.length));

/** Lines that are neither blank nor comment: the length of documentation is not limited. */
function linesOfCode(source: string): number {
  return source
    .replaceAll(/\/\*[^]*?\*\//g, '')
    .split('\n')
    .filter((line) => !/^\s*(?:\/\/.*)?$/.test(line)).length;
}

/** The files that a file imports, directly or not, their types included. */
const reached = new Map<string, ReadonlySet<string>>();

function reaches(from: string, to: string): boolean {
  const known = reached.get(from);
  if (known !== undefined) return known.has(to);
  const all = new Set(importsOf(from, 'all'));
  for (const path of all) for (const next of importsOf(path, 'all')) all.add(next);
  reached.set(from, all);
  return all.has(to);
}

describe('lib', () => {
  it('has a folder for every file', () => {
    expect(lib).to.include('index.ts');
    for (const path of lib) folderOf(path);
  });

  it('imports downwards', () => {
    const upward = lib.flatMap((from) =>
      importsOf(from, 'values')
        .filter((to) => !mayImport(from, to))
        .map((to) => `${from} imports ${to}`),
    );
    expect(upward).to.deep.equal([]);
  });

  it('imports no folder that depends on the core, not even its types', () => {
    const known = lib.flatMap((from) =>
      importsOf(from, 'all')
        .filter((to) => isDependent(to) && folderOf(from) !== folderOf(to))
        .map((to) => `${from} imports ${to}`),
    );
    expect(known).to.deep.equal([]);
  });

  it('imports files that exist, by their complete names', () => {
    const missing = lib.flatMap((from) => importsOf(from, 'all').filter((to) => !lib.includes(to)));
    expect(missing).to.deep.equal([]);
  });

  it('has no circle of imports in cpu/, but between an interface and its implementation', () => {
    const files = lib.filter((path) => path.startsWith('cpu/'));
    const circles = files.flatMap((path) => {
      const circle = files.filter((to) => to > path && reaches(path, to) && reaches(to, path));
      return circle.map((to) => `${path} and ${to}`);
    });
    expect(circles).to.deep.equal([
      'cpu/handles/entry-host.ts and cpu/handles/remote-kcont.ts',
      'cpu/locks/arena.ts and cpu/locks/futex.ts',
    ]);
  });

  it(`keeps every file to ${MAX_LINES} lines of code`, () => {
    const sizes = lib.map((path) => ({ path, lines: linesOfCode(read(`lib/${path}`)) }));
    expect(sizes.filter(({ lines }) => lines > MAX_LINES)).to.deep.equal([]);
  });

  it('names its files for their contents, in kebab-case', () => {
    const bad = /(?:^|\/)(?:utils?|types|helpers|common|misc)\.|[^a-z0-9/.-]/;
    expect(lib.filter((path) => bad.test(path))).to.deep.equal([]);
  });
});

describe('ARCHITECTURE.md', () => {
  const text = read('ARCHITECTURE.md');

  it('names files and folders that exist', () => {
    const named = [
      ...text.matchAll(
        /`((?:base|time|locks|core|compat|pipeline|cpu|retry|periodic|limits|observe|durable)\/[\w/.-]*)`/g,
      ),
    ];
    expect(named).to.have.length.greaterThan(40);
    const missing = named
      .map(([, path = '']) => path)
      .filter((path) => !lib.some((file) => file === path || file.startsWith(path)));
    expect(missing).to.deep.equal([]);
  });

  it('names the function and file of each behaviour', () => {
    const rows = [...text.matchAll(/^\| [^|]+ \| `([\w/.-]+\.ts)` \| `(\w+)` \|$/gm)];
    expect(rows).to.have.length.greaterThan(20);
    const missing = rows
      .filter(([, file = '', name]) => {
        const declared = new RegExp(`(?:function |async |get |#|^ +)${name}(?:<[^>(]*>)?\\(`, 'm');
        return !lib.includes(file) || !declared.test(read(`lib/${file}`));
      })
      .map(([row]) => row);
    expect(missing).to.deep.equal([]);
  });

  it('has the folders of lib', () => {
    for (const folder of LAYERS.flat()) expect(text).to.include(folder);
  });
});

describe('docs/promises.md and CONTRIBUTING.md', () => {
  it('name specs that exist, and quote their sentences', () => {
    const missing: string[] = [];
    let quoted = 0;
    for (const page of ['docs/promises.md', 'CONTRIBUTING.md']) {
      for (const line of read(page).split('\n')) {
        const [, first, sentence] = /^- `(spec\/[\w/.-]+)`: “(.*)”$/.exec(line) ?? [];
        for (const [, path = ''] of line.matchAll(/`(spec\/[\w/.-]+\.ts)`/g)) {
          if (!existsSync(join(ROOT, path))) missing.push(path);
        }
        if (first === undefined || sentence === undefined || missing.includes(first)) continue;
        quoted++;
        if (!read(first).includes(`it('${sentence}'`)) missing.push(line);
      }
    }
    expect(missing).to.deep.equal([]);
    expect(quoted).to.be.above(30);
  });

  it('count eighteen guarantees', () => {
    const sections = read('docs/promises.md').match(/^## \d+\. /gm) ?? [];
    expect(sections).to.have.length(18);
  });
});

describe('the linter', () => {
  /** One file per folder. */
  const some = LAYERS.slice(1)
    .flat()
    .map((folder) => `${folder}some.ts`);
  const pairs = some.flatMap((from) => some.map((to) => ({ from, to })));
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'house-'));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  /** The violations of one group of rules that `.oxlintrc.json` reports in these files: `path:line`. */
  function lint(rules: RegExp, files: Record<string, readonly string[]>): string[] {
    rmSync(join(folder, 'lib'), { recursive: true, force: true });
    const config: object = JSON.parse(read('.oxlintrc.json'));
    writeFileSync(join(folder, '.oxlintrc.json'), JSON.stringify({ ...config, options: {} }));
    for (const [path, lines] of Object.entries(files)) {
      mkdirSync(join(folder, 'lib', dirname(path)), { recursive: true });
      writeFileSync(join(folder, 'lib', path), lines.join('\n'));
    }
    const oxlint = join(ROOT, 'node_modules/oxlint/bin/oxlint');
    const { stdout } = spawnSync(process.execPath, [oxlint, '--format', 'json', 'lib'], {
      cwd: folder,
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    });
    const { diagnostics } = JSON.parse(stdout) as {
      diagnostics: { code: string; filename: string; labels: { span: { line: number } }[] }[];
    };
    return diagnostics
      .filter(({ code }) => rules.test(code))
      .map(({ filename, labels }) => `${posix.relative('lib', filename)}:${labels[0]?.span.line}`)
      .toSorted();
  }

  /** The imports that it forbids, if every folder imports every folder: `from > to`. */
  function forbidden(keyword: 'import' | 'import type'): string[] {
    const lines = (from: string): string[] =>
      some.map((to, index) => {
        const path = posix.relative(dirname(from), to);
        return `${keyword} { x as x${index} } from '${path.startsWith('.') ? path : `./${path}`}';`;
      });
    const files = Object.fromEntries(some.map((from) => [from, lines(from)]));
    return lint(/no-restricted-imports/, files)
      .map((found) => found.split(':'))
      .map(([from, line]) => `${from} > ${some[Number(line) - 1]}`)
      .toSorted();
  }

  it('forbids exactly the imports that point up', () => {
    const upward = pairs.filter(({ from, to }) => !mayImport(from, to));
    expect(upward).to.have.length(94);
    expect(forbidden('import')).to.deep.equal(
      upward.map(({ from, to }) => `${from} > ${to}`).toSorted(),
    );
  });

  it('lets the import of a type point up, but not to what depends on the core', () => {
    const known = pairs.filter(
      ({ from, to }) => isDependent(to) && folderOf(from) !== folderOf(to),
    );
    expect(forbidden('import type')).to.deep.equal(
      known.map(({ from, to }) => `${from} > ${to}`).toSorted(),
    );
  });

  it("keeps the host's time and timers behind time/", () => {
    const lines = [
      "import { setTimeout as later } from 'node:timers';",
      "import { performance as clock } from 'node:perf_hooks';",
      'export const a = [later, clock];',
      'export const b = setTimeout;',
      'export const c = globalThis.setImmediate;',
      'export const d = Date.now();',
      'export const e = performance.now();',
      'export const f = process.hrtime.bigint();',
    ];
    const found = lint(/no-restricted/, {
      'time/timing-wheel.ts': lines,
      'time/host-clock.ts': lines.slice(3),
      'base/host-functions.ts': lines,
    });
    expect(found).to.deep.equal(
      [1, 2, 4, 5, 6, 7, 8].map((line) => `time/timing-wheel.ts:${line}`),
    );
  });
});

/** `path:line` of every line that matches. */
function find(pattern: RegExp, among: readonly string[]): string[] {
  return among.flatMap((path) =>
    read(path)
      .split('\n')
      .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}`] : [])),
  );
}

// The brackets in these patterns keep them from matching this file.
describe('the repository', () => {
  const files = filesBelow('.');

  it('resolves no promise twice: lib/base/race.ts replaces the built-in race', () => {
    expect(
      find(
        /Promise\.(?:[r]ace|[a]ny)\(/,
        lib.map((path) => `lib/${path}`),
      ),
    ).to.deep.equal([]);
  });

  it('passes no array of unbounded length as the arguments of a call', () => {
    // A call takes about 120,000 arguments; with more it throws RangeError.
    const spread =
      /(?:\.(?:push|unshift|replaceChildren|append)|Math\.(?:max|min))\((?:[^(){}]*, )?\.\.\./;
    const found = filesBelow('lib').filter((path) => spread.test(read(path)));
    expect(found).to.deep.equal([]);
  });

  it('contains no notes about unfinished work', () => {
    const code = files.filter((path) => /^(?:lib|spec|examples|bench|scripts)\//.test(path));
    expect(find(/\b(?:[T]ODO|[F]IXME|[X]XX)\b/, code)).to.deep.equal([]);
  });

  it('names no folder outside itself and no path of a machine', () => {
    const outside = /\.\.\/[s]hared\b|(?<![\w.~>*-])\/(?:[w]ork|[r]oot|[h]ome|[U]sers)\/\w/;
    expect(find(outside, files)).to.deep.equal([]);
  });

  it('names no package registry', () => {
    expect(find(/\/\/[\w.-]*(?:[r]egistry|[n]pmjs\.org)|_[a]uthToken/, files)).to.deep.equal([]);
    expect(find(/"resolved":/, ['package-lock.json'])).to.deep.equal([]);
  });
});
