// Run a file of `onnxplain export --with-overlay` in Node.

import { realpathSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { argv, exit } from "node:process";
import { pathToFileURL } from "node:url";

import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";

const STATUS = [
  "the map shows something",
  "the map is the same everywhere, so it shows nothing",
  "the map has NaN or infinite values",
  "there is no such class or box",
];

/** Explain the picture in a file. `target` is a class, or -1 for the top class, as without it. */
export async function explain(model, picture, target) {
  const metadata = readMetadata(await readFile(model));
  if (!metadata.has("onnxplain.version")) throw new Error(`${model} is not a file of onnxplain export.`);
  // Names that the model itself has are others in the file.
  const names = JSON.parse(metadata.get("onnxplain.names"));
  const session = await InferenceSession.create(model);
  if (session.inputNames[0] !== (names.picture ?? "picture")) {
    throw new Error(`${model} does not take a picture: export it with --with-overlay.`);
  }
  const { data, info } = await readPixels(picture);
  const inputs = { [session.inputNames[0]]: new Tensor("uint8", data, [info.height, info.width, 3]) };
  if (session.inputNames.includes(names.target)) {
    inputs[names.target] = new Tensor("int64", [wholeNumber(target ?? -1)], [1]);
  } else if (target !== undefined) {
    throw new Error(`The file explains only one target, ${metadata.get("onnxplain.target")}: name no other.`);
  }
  if (session.inputNames.includes(names.region)) {
    // A mask of the picture; 0 everywhere means where the class is predicted.
    const region = new Uint8Array(info.height * info.width);
    inputs[names.region] = new Tensor("uint8", region, [1, info.height, info.width]);
  }
  const outputs = await session.run(inputs);
  const number = outputs[names.explained]?.data[0];
  return {
    answer: outputs[session.outputNames[0]], // the model's own
    values: outputs[names.values],
    heatmap: outputs[names.heatmap], // (1, height, width) float32 in [0, 1]
    overlay: outputs[names.overlay ?? "overlay"], // (height, width, 3) uint8; only of files with an overlay
    status: Number(outputs[names.status].data[0]),
    explained: number === undefined ? undefined : Number(number), // undefined if the target is fixed in the file
    target: metadata.get("onnxplain.target"), // what is explained, in words
    labels: JSON.parse(metadata.get("onnxplain.labels") ?? "[]"),
  };
}

function wholeNumber(target) {
  if (!/^-?\d+$/.test(target)) throw new Error(`${target} is not the index of a class.`);
  return BigInt(target);
}

/** Pixels as OpenCV reads them: 8-bit RGB, rotated as EXIF says, no alpha, no color profile. */
function readPixels(path) {
  const pixels = sharp(path, { ignoreIcc: true }).autoOrient().removeAlpha().toColourspace("srgb");
  return pixels.raw({ depth: "uchar" }).toBuffer({ resolveWithObject: true });
}

/** The metadata of an ONNX file, its field 14, which ONNX Runtime for Node does not return. */
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
      if (!(byte > 127)) return value; // also at the end of a file that is cut off
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

function print({ answer, status, explained, target, labels }) {
  const named = (index) => `${index} ${labels[index] ?? ""}`.trim();
  if (answer.dims.length === 2) {
    const { data } = answer;
    const order = [...data.keys()].sort((a, b) => data[b] - data[a]);
    for (const index of order.slice(0, 5)) console.log(data[index].toFixed(6).padStart(10), "", named(index));
  }
  const chosen = target === "a class" ? named(explained) : `${target}, ${explained}`;
  console.log(`explained: ${explained === undefined ? target : chosen}`);
  console.log(`status: ${status}, ${STATUS[status]}`);
}

async function main(model, picture, overlay, target) {
  const found = await explain(model, picture, target);
  if (!found.overlay) throw new Error(`${model} draws no overlay: export it with --with-overlay.`);
  const [height, width, channels] = found.overlay.dims;
  await sharp(found.overlay.data, { raw: { width, height, channels } }).png().toFile(overlay);
  print(found);
}

if (import.meta.url === pathToFileURL(realpathSync(argv[1])).href) {
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
