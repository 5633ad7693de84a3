// A chosen option is sent at once; with the arrow keys one looks first and sends with Enter.
let arrows = false;
addEventListener("keydown", ({ key, target }) => {
  arrows = key.startsWith("Arrow");
  if (key === "Enter" && target.type === "radio") target.form.requestSubmit();
});
addEventListener("keyup", () => { arrows = false; });
addEventListener("change", ({ target }) => {
  if (target.type === "radio" && !arrows) target.form.requestSubmit();
});
// the browser's back button shows what the state holds, not what was clicked last
addEventListener("pageshow", () => { for (const form of document.forms) form.reset(); });
