const assert = require("node:assert");
const { test } = require("node:test");

const { slug } = require("../slug.js");

test("accents and punctuation go", () => {
  assert.equal(slug("Crème Brûlée!", 7), "007-creme-brulee");
});

test("a title without words is its number", () => {
  assert.equal(slug("…", 42), "042");
});
