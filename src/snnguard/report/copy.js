// Buttons of class "copy" copy the code before them; where the browser forbids that, they select it.
for (const button of document.querySelectorAll("button.copy")) {
  const code = button.previousElementSibling, label = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "selected";
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}
