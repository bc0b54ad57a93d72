// The programs of the documentation are true: each fenced block marked `ts run` compiles, runs by
// itself, ends, and prints the block marked `text` that follows it.

import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { expect } from 'chai';
import { transformSync } from 'esbuild';
import { after, before, describe, it } from 'mocha';

/** This file runs from spec/ and, compiled, from build/spec/. */
const above = dirname(import.meta.dirname);
const isCompiled = basename(above) === 'build';
const ROOT = isCompiled ? dirname(above) : above;
const ENDING = isCompiled ? 'js' : 'ts';
const LIB = join(above, 'lib');

const pages = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'), { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.md'))
    .map(({ name }) => `docs/${name}`),
];

interface Program {
  /** Where it stands: `docs/timers.md:7`. */
  readonly place: string;
  readonly file: string;
  readonly source: string;
  /** What it prints. */
  readonly output: string;
}

interface Block {
  readonly info: string;
  readonly line: number;
  readonly text: string;
}

function blocksOf(page: string): Block[] {
  const text = readFileSync(join(ROOT, page), 'utf8');
  return [...text.matchAll(/^```(?<info>.*)\n(?<body>[^]*?)^```$/gm)].map((match) => ({
    info: match.groups?.['info'] ?? '',
    line: text.slice(0, match.index).split('\n').length,
    text: match.groups?.['body'] ?? '',
  }));
}

function programsOf(page: string): Program[] {
  const blocks = blocksOf(page);
  return blocks.flatMap(({ info, line, text }, index) => {
    if (info !== 'ts run') return [];
    const place = `${page}:${line}`;
    const next = blocks[index + 1];
    if (next?.info !== 'text') throw new Error(`${place}: a \`text\` block has to follow it`);
    const file = `${basename(page, '.md')}-${line}`;
    return [{ place, file, source: text, output: next.text }];
  });
}

/** The file of lib behind each import of the package: `kcont/timers` and the others. */
const { exports: subpaths } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  exports: Record<string, { default?: string }>;
};
const entries = Object.entries(subpaths).flatMap(([subpath, { default: target }]) =>
  target === undefined
    ? []
    : [{ id: `kcont${subpath.slice(1)}`, path: target.slice('./dist/'.length, -'.js'.length) }],
);

/** The program as a file of its own can be run here. */
function runnable(source: string): string {
  const { code } = transformSync(source, { loader: 'ts', target: 'es2022' });
  return code.replaceAll(/from "(?<id>kcont[^"]*)"/g, (whole, id: string) => {
    const entry = entries.find((one) => one.id === id);
    if (entry === undefined) throw new Error(`${whole}: there is no such subpath`);
    return `from ${JSON.stringify(join(LIB, `${entry.path}.${ENDING}`))}`;
  });
}

function run(file: string, cwd: string): Promise<string> {
  return new Promise((resolve) => {
    execFile(process.execPath, [file], { cwd, timeout: 60_000 }, (error, out, err) =>
      resolve(error === null ? out + err : `${out}${err}${String(error.code)}`),
    );
  });
}

describe('the programs of the documentation', function () {
  this.timeout(60_000);
  const programs = pages.flatMap(programsOf);
  const folder = join(ROOT, 'temp', 'docs');
  before(() => {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
  });
  after(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('are on every page of a front', () => {
    const covered = new Set(programs.map(({ place }) => place.split(':')[0]));
    expect(pages.filter((page) => !covered.has(page))).to.deep.equal(['README.md']);
  });

  it('compile as strict TypeScript', async () => {
    const paths = entries.map(({ id, path }) => [id, [join(ROOT, 'lib', `${path}.ts`)]] as const);
    const tsconfig = {
      extends: join(ROOT, 'tsconfig.json'),
      compilerOptions: {
        paths: Object.fromEntries(paths),
        types: ['node'],
        declaration: false,
        isolatedDeclarations: false,
        rootDir: ROOT,
      },
      include: [],
      files: programs.map(({ file }) => `${file}.ts`),
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
    // Top-level await needs a module.
    for (const { file, source } of programs) {
      writeFileSync(join(folder, `${file}.ts`), `${source}\nexport {};\n`);
    }
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    expect(await run(tsc, folder)).to.equal('');
  });

  for (const { place, file, source, output } of programs) {
    it(`print what they say: ${place}`, async () => {
      const path = join(folder, `${file}.mjs`);
      writeFileSync(path, runnable(source));
      expect(await run(path, folder)).to.equal(output);
    });
  }
});
