// Checks the programs of the documentation: each fenced block marked `ts run` compiles, runs, ends, and
// prints the block marked `text` that follows it.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { basename, join, relative } from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { ABOVE, ROOT, isCompiled } from '../support/root.ts';

const ENDING = isCompiled ? 'js' : 'ts';
const LIB = join(ABOVE, 'lib');

const pages = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'), { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.md'))
    .map(({ name }) => `docs/${name}`),
];

interface Program {
  /** Its place, such as `docs/timers.md:7`. */
  readonly place: string;
  readonly file: string;
  readonly source: string;
  /** Its expected output. */
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

/** The server that README begins with; faster, and on a port that the system gives. */
const server: Program = (() => {
  const page = 'README.md';
  const block = blocksOf(page).find(({ info }) => info === 'ts server');
  if (block === undefined) throw new Error(`${page} has no block marked \`ts server\``);
  const source = block.text
    .replaceAll('30_000', '200')
    .replace(
      '.listen(7000)',
      `.listen(0, function (this: import('node:net').Server) { console.log(this.address()); })`,
    );
  return { place: `${page}:${block.line}`, file: 'README-server', source, output: '' };
})();

/** The file of lib behind each import of the package: `kcont/timers` and the others. */
const { exports: subpaths } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  exports: Record<string, { default?: string }>;
};
const entries = Object.entries(subpaths).flatMap(([subpath, { default: target }]) =>
  target === undefined
    ? []
    : [{ id: `kcont${subpath.slice(1)}`, path: target.slice('./dist/'.length, -'.js'.length) }],
);

/** The compiled program, with imports that can be run here. */
function runnable(code: string): string {
  return code.replaceAll(
    /(?<by>from|import) ['"](?<id>kcont[^'"]*)['"]/g,
    (whole, by: string, id: string) => {
      const entry = entries.find((one) => one.id === id);
      if (entry === undefined) throw new Error(`${whole}: there is no such subpath`);
      return `${by} ${JSON.stringify(join(LIB, `${entry.path}.${ENDING}`))}`;
    },
  );
}

function run(file: string, cwd: string): Promise<string> {
  return new Promise((resolve) => {
    // The mock timers of node:test are experimental on Node 20.
    const args = ['--disable-warning=ExperimentalWarning', file];
    execFile(process.execPath, args, { cwd, timeout: 60_000 }, (error, out, err) =>
      resolve(error === null ? out + err : `${out}${err}${String(error.code)}`),
    );
  });
}

describe('the programs of the documentation', function () {
  this.timeout(60_000);
  const programs = pages.flatMap(programsOf);
  const folder = join(ROOT, 'temp', 'docs');
  /** The compiler's output path for a program in `folder`. */
  const compiled = join(folder, 'out', relative(ROOT, folder));
  let said: string;
  before(async () => {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    said = await compile();
  });
  after(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  function compile(): Promise<string> {
    const paths = entries.map(({ id, path }) => [id, [join(ROOT, 'lib', `${path}.ts`)]] as const);
    const tsconfig = {
      extends: join(ROOT, 'tsconfig.json'),
      compilerOptions: {
        paths: Object.fromEntries(paths),
        types: ['node'],
        noEmit: false,
        outDir: join(folder, 'out'),
        declaration: false,
        isolatedDeclarations: false,
        rootDir: ROOT,
      },
      include: [],
      files: [...programs, server].map(({ file }) => `${file}.ts`),
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
    // Top-level await needs a module.
    for (const { file, source } of [...programs, server]) {
      writeFileSync(join(folder, `${file}.ts`), `${source}\nexport {};\n`);
    }
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    return run(tsc, folder);
  }

  it('are on every page except the README and the guarantees', () => {
    const covered = new Set(programs.map(({ place }) => place.split(':')[0]));
    expect(pages.filter((page) => !covered.has(page))).to.deep.equal([
      'README.md',
      'docs/promises.md',
    ]);
  });

  it('are identical to the file that they show', () => {
    const shown = pages.flatMap(blocksOf).filter(({ info }) => /^js \S+\//.test(info));
    expect(shown.length).to.be.above(0);
    for (const { info, text } of shown) {
      expect(text).to.equal(readFileSync(join(ROOT, info.slice('js '.length)), 'utf8'));
    }
  });

  it('compile as strict TypeScript', () => {
    expect(said).to.equal('');
  });

  it(`serve, and disconnect a client that neither speaks nor closes: ${server.place}`, async () => {
    const path = join(folder, `${server.file}.mjs`);
    writeFileSync(path, runnable(readFileSync(join(compiled, `${server.file}.js`), 'utf8')));
    const child = spawn(process.execPath, [path]);
    try {
      const [printed] = (await once(child.stdout, 'data')) as [Buffer];
      const port = Number(/port: (?<port>\d+)/.exec(String(printed))?.groups?.['port']);
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      const [heard] = (await once(socket, 'data')) as [Buffer];
      expect(String(heard)).to.equal('idle\n');
      // Writing to a closed connection is an error.
      const failed = once(socket, 'error');
      const writing = setInterval(() => socket.write('still here\n'), 20);
      await failed.finally(() => clearInterval(writing));
      socket.destroy();
    } finally {
      child.kill();
    }
  });

  for (const { place, file, output } of programs) {
    it(`print the output shown: ${place}`, async () => {
      const path = join(folder, `${file}.mjs`);
      const code = readFileSync(join(compiled, `${file}.js`), 'utf8');
      writeFileSync(path, runnable(code));
      expect(await run(path, folder)).to.equal(output);
    });
  }
});
