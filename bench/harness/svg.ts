// A picture as text, readable on light and on dark ground.

/** Text and shapes name these classes. */
const STYLE = `
    text { font: 12px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
    .title { font-size: 15px; font-weight: 600; }
    .group { font-weight: 600; }
    .note { font-size: 11px; fill: #59636e; }
    .end { text-anchor: end; }
    .middle { text-anchor: middle; }
    .kcont { fill: #0b7285; stroke: #0b7285; }
    .peer { fill: #adb5bd; stroke: #adb5bd; }
    .floor { fill: none; stroke: #868e96; stroke-dasharray: 3 2; }
    .whisker { stroke: #1f2328; stroke-opacity: 0.6; }
    .grid { stroke: #d1d9e0; stroke-width: 1; }
    .line { fill: none; stroke-width: 2; }
    text.kcont, text.peer, text.floor { stroke: none; }
    text.kcont { fill: #0b7285; font-weight: 600; }
    text.peer { fill: #6c757d; }
    text.floor { fill: #6c757d; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .note { fill: #9198a1; }
      .kcont { fill: #3bc9db; stroke: #3bc9db; }
      .peer { fill: #6c757d; stroke: #6c757d; }
      .floor { stroke: #868e96; }
      .whisker { stroke: #f0f6fc; }
      .grid { stroke: #3d444d; }
      text.kcont { fill: #3bc9db; }
      text.peer, text.floor { fill: #adb5bd; }
    }`;

export function escapeXml(value: string): string {
  return value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function attributes(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values)
    .map(([name, value]) => ` ${name}="${typeof value === 'number' ? round(value) : value}"`)
    .join('');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** An element without content. */
export function shape(name: string, values: Readonly<Record<string, string | number>>): string {
  return `  <${name}${attributes(values)}/>`;
}

export function text(x: number, y: number, classes: string, content: string): string {
  return `  <text${attributes({ x, y, class: classes })}>${escapeXml(content)}</text>`;
}

/** The whole file. */
export function picture(
  width: number,
  height: number,
  title: string,
  elements: readonly string[],
): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${round(height)}" width="${width}" height="${round(height)}" role="img">`,
    `  <title>${escapeXml(title)}</title>`,
    `  <style>${STYLE}\n  </style>`,
    ...elements,
    '</svg>',
    '',
  ].join('\n');
}

/** As many lines as a text needs at a number of characters each. */
export function wrap(content: string, columns: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of content.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
