const padStart = require("pad-start");

/** `slug("Crème Brûlée!", 7)` is `007-creme-brulee`. */
function slug(title, number) {
  const words = title.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().match(/[\p{L}\p{N}]+/gu);
  return [padStart(String(number), 3, "0"), ...(words ?? [])].join("-");
}

module.exports = { slug };
