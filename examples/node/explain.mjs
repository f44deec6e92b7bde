// Run a file of `onnxplain export --with-overlay` in Node.

import { readFile } from "node:fs/promises";
import { argv, exit } from "node:process";
import { pathToFileURL } from "node:url";

import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";

const STATUS = [
  "the map is good",
  "the map is the same everywhere, so it shows nothing",
  "the map has values that are not finite",
  "the model has no such class",
];

/** Explain the picture in a file. `target` is a class, -1 for the top class, -2 for the second. */
export async function explain(model, picture, target = -1) {
  const bytes = await readFile(model);
  const session = await InferenceSession.create(bytes);
  const inputs = session.inputNames;
  if (inputs.length !== 2 || inputs[0] !== "picture" || inputs[1] !== "target") {
    throw new Error(`${model} does not take a picture: export it with --with-overlay.`);
  }
  const { data, info } = await readPixels(picture);
  const outputs = await session.run({
    picture: new Tensor("uint8", data, [info.height, info.width, 3]),
    target: new Tensor("int64", [BigInt(target)], [1]),
  });
  return {
    scores: outputs[session.outputNames[0]], // the first output of the model
    values: outputs.values,
    heatmap: outputs.heatmap, // (1, height, width) float32 in [0, 1]
    overlay: outputs.overlay, // (height, width, 3) uint8; only of files with an overlay
    status: Number(outputs.status.data[0]),
    explained: Number(outputs.explained.data[0]),
    labels: JSON.parse(readMetadata(bytes).get("onnxplain.labels") ?? "[]"),
  };
}

/** Pixels as OpenCV reads them: 8-bit RGB, rotated as EXIF says, no alpha, no color profile. */
function readPixels(path) {
  const pixels = sharp(path, { ignoreIcc: true }).autoOrient().removeAlpha().toColourspace("srgb");
  return pixels.raw({ depth: "uchar" }).toBuffer({ resolveWithObject: true });
}

/** The metadata of an ONNX file, which ONNX Runtime does not return in Node: field 14. */
function readMetadata(bytes) {
  const metadata = new Map();
  for (const [field, entry] of fields(bytes)) {
    if (field === 14) {
      const texts = new Map(fields(entry));
      metadata.set(String(texts.get(1)), String(texts.get(2)));
    }
  }
  return metadata;
}

/** Field numbers and bytes of the texts and messages in a message of protobuf. */
function* fields(message) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = number();
    const [field, kind] = [Math.floor(key / 8), key % 8];
    if (kind === 0) number();
    else {
      const size = kind === 1 ? 8 : kind === 5 ? 4 : number();
      if (kind === 2) yield [field, message.subarray(at, at + size)];
      at += size;
    }
  }
}

function print({ scores, status, explained, labels }) {
  const named = (index) => `${index} ${labels[index] ?? ""}`.trim();
  const { data } = scores;
  const order = [...data.keys()].sort((a, b) => data[b] - data[a]);
  for (const index of order.slice(0, 5)) console.log(data[index].toFixed(6).padStart(10), named(index));
  console.log(`explained: ${named(explained)}`);
  console.log(`status: ${status}, ${STATUS[status]}`);
}

async function main(model, picture, overlay, target) {
  const found = await explain(model, picture, target);
  if (!found.overlay) throw new Error(`${model} draws no overlay: export it with --with-overlay.`);
  const [height, width, channels] = found.overlay.dims;
  await sharp(found.overlay.data, { raw: { width, height, channels } }).png().toFile(overlay);
  print(found);
}

if (import.meta.url === pathToFileURL(argv[1]).href) {
  if (argv.length < 5 || argv.length > 6) {
    console.error("usage: node explain.mjs MODEL.onnx PICTURE OVERLAY.png [TARGET]");
    exit(2);
  }
  try {
    await main(...argv.slice(2));
  } catch (error) {
    console.error(error.message);
    exit(1);
  }
}
