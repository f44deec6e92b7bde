/**
 * Reads the metadata of an ONNX file, which onnxruntime-web does not give.
 *
 * An ONNX file is a protobuf message. The graph, which is nearly all of the file, is skipped in one
 * step.
 */

const GRAPH = 7; // fields of ModelProto
const METADATA = 14;
const KEY = 1; // fields of StringStringEntryProto
const VALUE = 2;

/**
 * The fields of a message that have a length, in the order of the file.
 *
 * @param {Uint8Array} message
 * @returns {Generator<[number, Uint8Array]>} the number and the bytes of each.
 */
function* fieldsOf(message) {
  let at = 0;
  const varint = () => {
    for (let value = 0, scale = 1; at < message.length; scale *= 128) {
      const byte = message[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    throw new RangeError("The message ends inside of a number.");
  };
  /** How many bytes a field of each wire type takes. */
  const lengths = [() => (varint(), 0), () => 8, varint, , , () => 4];
  while (at < message.length) {
    const tag = varint();
    const length = lengths[tag % 8]?.();
    if (length === undefined || at + length > message.length) {
      throw new RangeError("This is not a protobuf message.");
    }
    if (tag % 8 === 2) yield [Math.floor(tag / 8), message.subarray(at, at + length)];
    at += length;
  }
}

/**
 * The metadata of an ONNX file.
 *
 * @param {Uint8Array} file
 * @returns {Record<string, string>}
 * @throws {RangeError} if the bytes are not those of an ONNX model.
 */
export function readMetadata(file) {
  /** @type {Record<string, string>} */
  const metadata = {};
  const decoder = new TextDecoder();
  let hasGraph = false;
  for (const [field, bytes] of fieldsOf(file)) {
    hasGraph ||= field === GRAPH;
    if (field !== METADATA) continue;
    const entry = new Map(fieldsOf(bytes));
    metadata[decoder.decode(entry.get(KEY))] = decoder.decode(entry.get(VALUE));
  }
  if (!hasGraph) throw new RangeError("The message has no graph.");
  return metadata;
}
