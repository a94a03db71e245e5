// Tables of class "sortable": every heading is a button that sorts the rows by its column, again the other way round.
// A cell is sorted by its data-value, a number, or by its text; what is missing ("") stays at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const key = (row, column) => {
    const cell = row.cells[column], value = cell.dataset.value;
    return value === undefined ? cell.textContent.trim() : value === "" ? null : Number(value);
  };
  const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  const sort = (head, column) => {
    const rows = [...body.rows].map((row) => [key(row, column), row]);
    const first = rows.some(([value]) => typeof value === "number") ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const chosen = head.getAttribute("aria-sort") === first ? other : first;
    for (const each of heads) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", chosen);
    const sign = chosen === "ascending" ? 1 : -1;
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : sign * order(a, b));
    body.append(...rows.map(([, row]) => row));
  };
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => sort(head, column)));
}

// The filters of the table of accuracies; the bars show the same networks.
for (const form of document.querySelectorAll("form.filter")) {
  const table = document.getElementById(form.dataset.table), bars = document.getElementById(form.dataset.bars);
  const said = form.querySelector("output"), rows = [...table.tBodies[0].rows];
  const apply = () => {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = (row) => words.every((word) => row.dataset.words.toLowerCase().includes(word));
    for (const row of rows) row.hidden = !shown(row);
    said.textContent = `${rows.filter(shown).length} of ${rows.length} networks shown`;
    table.classList.toggle("bounded-only", form.elements.unbounded?.checked === false);
    if (bars?.data) Plotly.restyle(bars, {visible: rows.map((row) => shown(row) || "legendonly")});
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.reset();
}
