// Loads the elements that a page has, and nothing for pages without.
if (document.querySelector("arcade-game")) import("./arcade.js");
if (document.querySelector("arcade-start")) import("./start.js");
