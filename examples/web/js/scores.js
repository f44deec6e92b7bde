/** From a model's scores to the rows of the list. */

/**
 * @typedef {{index: number, label: string, share: number}} Row share is from 0 to 1.
 */

const SHOWN = 5;

/**
 * The name of a class.
 *
 * @param {string[]} labels
 * @param {number} index
 */
export function labelOf(labels, index) {
  return labels[index] ?? `class ${index}`;
}

/**
 * Scores as shares from 0 to 1: as they are if they already are probabilities, else their softmax.
 *
 * @param {Float32Array} scores
 * @returns {{shares: Float32Array, softmax: boolean}}
 */
export function sharesOf(scores) {
  // Rounding makes a softmax a little larger than 1, or smaller than 0.
  if (scores.every((score) => score > -1e-6 && score < 1 + 1e-6)) return { shares: scores, softmax: false };
  const largest = scores.reduce((a, b) => Math.max(a, b));
  const powers = scores.map((score) => Math.exp(score - largest));
  const total = powers.reduce((a, b) => a + b);
  return { shares: powers.map((power) => power / total), softmax: true };
}

/**
 * The best classes, best first; then the chosen one, if it is none of them.
 *
 * @param {Float32Array} shares
 * @param {string[]} labels
 * @param {number | null} chosen
 * @returns {Row[]}
 */
export function topRows(shares, labels, chosen) {
  const best = [...shares.keys()].sort((a, b) => shares[b] - shares[a]).slice(0, SHOWN);
  if (chosen !== null && chosen < shares.length && !best.includes(chosen)) best.push(chosen);
  return best.map((index) => ({ index, label: labelOf(labels, index), share: shares[index] }));
}

/** @param {number} share */
export function percent(share) {
  const number = 100 * share;
  if (number > 0 && number < 0.05) return "< 0.1 %";
  return `${number >= 9.95 ? Math.round(number) : number.toFixed(1)} %`;
}
