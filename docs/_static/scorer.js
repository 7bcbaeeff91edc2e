// How Sphinx's search orders its results: answers and instructions before records of the project.
const FIRST = ["docs/faq", "docs/glossary", "docs/start", "docs/how-to/"];
const LAST = ["benchmarks/", "CHANGELOG", "CONTRIBUTING", "docs/reference/commands"];
const startsWithOneOf = (name, starts) => starts.some((start) => name.startsWith(start));

var Scorer = {
  score: ([docname, , , , score]) => {
    if (startsWithOneOf(docname, FIRST)) return score + 12;
    return startsWithOneOf(docname, LAST) ? score - 12 : score;
  },
  // The rest is Sphinx's own.
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
