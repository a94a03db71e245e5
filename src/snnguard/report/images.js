// The image browser: a picture is shown if it agrees with every choice; a heading if one of its pictures is.
for (const form of document.querySelectorAll("form.browse")) {
  const pictures = [...document.querySelectorAll(".triple")], groups = [...document.querySelectorAll(".of-network")];
  const apply = () => {
    const choices = [...form.querySelectorAll("select")].filter((select) => select.value !== "");
    for (const picture of pictures) picture.hidden = choices.some(({name, value}) => picture.dataset[name] !== value);
    for (const group of groups) group.hidden = !group.querySelector(".triple:not([hidden])");
    const shown = pictures.filter((picture) => !picture.hidden).length;
    form.querySelector("output").textContent = `${shown} of ${pictures.length} images shown`;
  };
  form.addEventListener("input", apply);
  apply();
}
