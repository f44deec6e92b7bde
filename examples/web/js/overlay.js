/** The colors of a heatmap over its picture. */

/** Colors from heat 0 to heat 1, evenly spaced; those between are interpolated. */
/** @type {Record<string, string>} */
const STOPS = {
  inferno: "0000040b0724210c4a3d096556106e70196e89226aa32c61bb3654d14545e35932f1721ef98c0afcaa0ff9c932f2e865fcffa4",
  magma: "0000040a08221d114736106b50127c691c818226819c2e7fb6367acf4070e65164f46a5cfb8861fea571fec287fde0a1fcfdbf",
  viridis: "44015448186a472d7b4240863b528b33638d2c728e26828e21908c1f9f8827ad813ebc745cc86382d34daadc32d5e21afde725",
  cividis: "00224e002e6a1a386f32436d434e6c535a6d61656f6f70737c7c788b87789a9376aaa073bbad6dccba64ddc858efd748fee838",
  turbo: "30123b4040a2466be34293ff28bbec18dcc331f2996bfe64a2fc3ccced34edd03afdad35fb8022ec520fd23105ac17017a0403",
};

// The picture is dimmed where the map is cold, and the color covers most of it where the map is hot,
// as in the pictures that onnxplain draws.
const DIMMED_WHERE_COLD = 0.4;
const COVERED_WHERE_HOT = 0.7;

export const COLOR_MAPS = Object.keys(STOPS);

/**
 * @param {string} name one of COLOR_MAPS.
 * @returns {number[][]} red, green and blue of each stop.
 */
function stopsOf(name) {
  const colors = STOPS[name].match(/.{6}/g) ?? [];
  return colors.map((color) => [0, 2, 4].map((at) => parseInt(color.slice(at, at + 2), 16)));
}

/** @param {string} name one of COLOR_MAPS. */
export function gradientOf(name) {
  return `linear-gradient(90deg, ${stopsOf(name).map((color) => `rgb(${color})`)})`;
}

/**
 * The layer's color and alpha for each of 256 levels of heat.
 *
 * @param {string} name one of COLOR_MAPS.
 * @returns {Uint8ClampedArray} (256, 4), RGBA.
 */
function layerTable(name) {
  const stops = stopsOf(name);
  const table = new Uint8ClampedArray(256 * 4);
  for (let level = 0; level < 256; level++) {
    const heat = level / 255;
    const at = heat * (stops.length - 1);
    const [low, high] = [stops[Math.floor(at)], stops[Math.ceil(at)]];
    const color = low.map((value, channel) => value + (high[channel] - value) * (at % 1));
    const covered = COVERED_WHERE_HOT * heat ** 0.8;
    const alpha = 1 - (1 - DIMMED_WHERE_COLD * (1 - heat)) * (1 - covered);
    table.set([...color.map((value) => (value * covered) / alpha), 255 * alpha], 4 * level);
  }
  return table;
}

/**
 * Draw the layer of colors.
 *
 * @param {HTMLCanvasElement} canvas of the picture's size.
 * @param {Float32Array} heatmap in [0, 1], row by row.
 * @param {[number, number]} size its rows and columns.
 * @param {import("./preprocess.js").Region} region the part of the picture that it covers.
 * @param {string} colors one of COLOR_MAPS.
 */
export function drawHeat(canvas, heatmap, [rows, columns], region, colors) {
  const table = new Uint32Array(layerTable(colors).buffer);
  const image = new ImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  for (let at = 0; at < heatmap.length; at++) pixels[at] = table[Math.round(255 * heatmap[at])];
  const layer = document.createElement("canvas");
  putPixels(layer, image);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(layer, region.left, region.top, region.width, region.height);
}

/**
 * @param {HTMLCanvasElement} canvas gets the picture's size.
 * @param {ImageData} pixels
 */
export function putPixels(canvas, pixels) {
  // A canvas that gets a size, even its own, is cleared and flickers in a video.
  if (canvas.width !== pixels.width) canvas.width = pixels.width;
  if (canvas.height !== pixels.height) canvas.height = pixels.height;
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).putImageData(pixels, 0, 0);
}

/**
 * Picture and layer as a PNG file, in the picture's own size.
 *
 * @param {HTMLCanvasElement} photo
 * @param {HTMLCanvasElement} heat
 * @param {number} opacity from 0 to 1.
 * @returns {Promise<Blob>}
 */
export function overlayPng(photo, heat, opacity) {
  const { width, height } = photo;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(photo, 0, 0);
  context.globalAlpha = opacity;
  context.drawImage(heat, 0, 0);
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(/** @type {Blob} */ (blob)), "image/png"));
}
