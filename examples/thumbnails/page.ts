/** The HTML page: all photos, a width, and a button that prefetches many thumbnails. */
export function page(photos: Iterable<string>): string {
  return `<!doctype html>
<meta charset="utf-8">
<title>Thumbnails</title>
<style>
  body { font: 14px system-ui, sans-serif; margin: 2rem; max-width: 60rem }
  #grid { display: flex; flex-wrap: wrap; gap: 6px; margin: 1rem 0 }
  img { background: #ddd; min-width: 40px; min-height: 30px }
  pre { background: #f4f4f4; padding: 1rem; overflow-x: auto }
</style>
<h1>Thumbnails</h1>
<label>width <input id="width" type="range" min="40" max="300" value="140"> <output id="px"></output></label>
<button id="flood">render 200 ahead</button> <span id="ahead"></span>
<div id="grid"></div>
<pre id="stats"></pre>
<script>
  const photos = ${JSON.stringify([...photos])};
  const client = Math.random().toString(36).slice(2);
  const byId = (id) => document.getElementById(id);
  const images = photos.map(() => byId('grid').appendChild(new Image()));
  const show = () => {
    const width = byId('width').value;
    byId('px').value = width + ' px';
    // Setting src again aborts the requests that are in progress.
    images.forEach((image, i) => { image.src = '/photos/' + photos[i] + '?client=' + client + '&width=' + width; });
  };
  byId('width').oninput = show;
  byId('flood').onclick = async () => {
    const seen = {};
    await Promise.all(Array.from({ length: 200 }, async (_, i) => {
      const photo = photos[i % photos.length];
      const { status } = await fetch('/photos/' + photo + '?ahead&client=' + client + '&width=' + (300 + i));
      seen[status] = (seen[status] ?? 0) + 1;
      byId('ahead').textContent = 'answers: ' + JSON.stringify(seen);
    }));
  };
  setInterval(async () => {
    byId('stats').textContent = JSON.stringify(await (await fetch('/stats')).json(), null, 1);
  }, 1000);
  show();
</script>
`;
}
