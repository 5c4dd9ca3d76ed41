// A table that is wider than a phone scrolls: with the arrows, too.
addEventListener("load", () => document.querySelectorAll(".md-typeset__scrollwrap").forEach((wrap) => { wrap.tabIndex = 0; }));
// Paper is white.
const at = () => document.body.dataset;
let scheme;
addEventListener("beforeprint", () => { scheme = at().mdColorScheme; at().mdColorScheme = "default"; });
addEventListener("afterprint", () => { at().mdColorScheme = scheme; });
