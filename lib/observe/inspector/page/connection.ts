/*
 * Requests to the server. The token comes with the link, after `#`, and is taken out of the address bar at once. It
 * is kept for this tab alone, so that the page can be loaded again.
 */

const KEY = 'kcont inspector token';

/** The server refuses the token. */
export class Unauthorized extends Error {}

let token: string | null = takeToken();

function takeToken(): string | null {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given === null) return sessionStorage.getItem(KEY);
  sessionStorage.setItem(KEY, given);
  history.replaceState(null, '', '/');
  return given;
}

/** Whether there is a token. */
export function hasToken(): boolean {
  return token !== null;
}

/** Uses another token. */
export function setToken(given: string): void {
  token = given;
  sessionStorage.setItem(KEY, given);
}

/** Sends a request. */
export async function call(path: string, body: object = {}): Promise<Response> {
  const response = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token ?? ''}` },
    body: JSON.stringify(body),
    cache: 'no-store',
    redirect: 'error',
  });
  if (response.status === 401) throw new Unauthorized('the token is wrong');
  if (!response.ok) {
    const { error } = (await response.json()) as { error?: string };
    throw new Error(error ?? `the server answers ${response.status}`);
  }
  return response;
}

/** Calls a function with each line of an answer, parsed. */
export async function readLines(response: Response, take: (line: unknown) => void): Promise<void> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) {
    const lines = (rest + part.value).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) take(JSON.parse(line));
  }
}
