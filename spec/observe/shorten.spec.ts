import { expect } from 'chai';
import { describe, it } from 'mocha';
import { shorten } from '../../lib/observe/shorten.ts';

describe('a text for another process', () => {
  it('is sent as it is up to 200 characters', () => {
    for (const text of ['', 'name', 'x'.repeat(200)]) expect(shorten(text)).to.equal(text);
  });

  it('loses its middle if it is longer', () => {
    const text = `/app/${'folder/'.repeat(100)}file.js:12:7`;
    expect(shorten(text)).to.have.length(200);
    expect(shorten(text)).to.match(/^\/app\/folder\/[^…]+…[^…]+\/folder\/file\.js:12:7$/);
    expect(shorten(text, 300)).to.have.length(300);
  });

  it('has no half of a character', () => {
    for (let offset = 0; offset < 4; offset++) {
      const text = shorten('x'.repeat(offset) + '😀'.repeat(200) + 'x'.repeat(offset % 2));
      expect(text.length).to.be.within(198, 200);
      expect(text).to.not.match(/\p{Surrogate}/u);
    }
  });
});
