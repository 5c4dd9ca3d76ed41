// A table that is wider than a phone scrolls: with the arrows, too.
addEventListener("load", () => document.querySelectorAll(".md-typeset__scrollwrap").forEach((wrap) => { wrap.tabIndex = 0; }));
