import { constants } from 'node:os';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { isConnectionError, isPassing } from '../../lib/durable/graphile/connection-errors.ts';

describe('errors of connections to PostgreSQL', () => {
  const withCode = (code: unknown): Error => Object.assign(new Error('failed'), { code });

  it('are those of sockets, whatever their codes look like', () => {
    const codes = Object.keys(constants.errno);
    expect(codes).to.include.members(['ECONNRESET', 'EPIPE', 'EBADF']);
    expect(codes.filter((code) => !isConnectionError(withCode(code)))).to.deep.equal([]);
    expect(codes.filter((code) => !isPassing(withCode(code)))).to.deep.equal([]);
  });

  it('are those without a code, and those by which the server ends or refuses one', () => {
    for (const code of [undefined, 5, '08006', '57P01', '53300', 'KC002']) {
      expect(isConnectionError(withCode(code)), String(code)).to.equal(true);
    }
  });

  it('are not the answers to a statement', () => {
    for (const code of ['23505', '40001', '42P01', 'XX000', 'P0001']) {
      expect(isConnectionError(withCode(code)), code).to.equal(false);
    }
  });
});
