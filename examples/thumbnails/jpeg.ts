/** Reads the width of a JPEG file, in pixels. Returns 0 if it is not one. */
export function widthOf(jpeg: Uint8Array): number {
  const view = new DataView(jpeg.buffer, jpeg.byteOffset, jpeg.byteLength);
  if (jpeg.byteLength < 4 || view.getUint16(0) !== 0xff_d8) return 0;
  for (let at = 2; at + 9 <= jpeg.byteLength; at += 2 + view.getUint16(at + 2)) {
    const marker = view.getUint16(at);
    // SOF0 to SOF3: the frame header. Precision, height, width.
    if (marker >= 0xff_c0 && marker <= 0xff_c3) return view.getUint16(at + 7);
  }
  return 0;
}
