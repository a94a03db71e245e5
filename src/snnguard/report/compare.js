// Two networks side by side: the rows of the chosen pair. Pairs are stored once, the earlier network first.
for (const form of document.querySelectorAll("form.compare")) {
  const {pairs, figure} = JSON.parse(document.getElementById("pair-data").textContent);
  const {one, other} = form.elements, said = form.querySelector("output");
  const table = document.getElementById("pair"), place = document.getElementById("pair-plot");
  const points = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(1);
  const turned = (row) => ({
    ...row, only_one: row.only_other, only_other: row.only_one, difference: -row.difference, low: -row.high, high: -row.low,
  });
  const line = (row) => {
    const interval = `${points(row.low)} to ${points(row.high)}`, p = row.p < 0.001 ? "< 0.001" : row.p.toFixed(3);
    const cells = [row.label, row.only_one, row.only_other, points(row.difference), interval, p];
    const written = document.createElement("tr");
    cells.forEach((text, i) => {
      const cell = document.createElement(i ? "td" : "th");
      cell.textContent = text;
      if (!i) cell.scope = "row";
      written.append(cell);
    });
    return written;
  };
  const chart = (rows) => {
    const short = (text) => text.length > 24 ? `${text.slice(0, 23)}…` : text;  // the table has the whole name
    const x = rows.map((row) => row.difference), y = rows.map((row, i) => i);
    const yaxis = {...figure.layout.yaxis, tickvals: y, ticktext: rows.map((row) => short(row.label))};
    const array = rows.map((row) => row.high - row.difference), arrayminus = rows.map((row) => row.difference - row.low);
    const error_x = {...figure.data[0].error_x, type: "data", symmetric: false, array, arrayminus};
    const trace = {...figure.data[0], x, y, error_x, text: rows.map((row) => row.label)};
    place.style.height = `${110 + 26 * rows.length}px`;
    plots.draw(place, {data: [trace], layout: {...figure.layout, yaxis}});
  };
  const apply = () => {
    const a = Number(one.value), b = Number(other.value), same = {refused: "Choose two different networks.", rows: []};
    const pair = a === b ? same : pairs[`${Math.min(a, b)}-${Math.max(a, b)}`];
    const rows = a < b ? pair.rows : pair.rows.map(turned);
    const apart = rows.filter((row) => row.low > 0 || row.high < 0).length;
    const [first, second] = [one, other].map((select) => select.selectedOptions[0].text);
    said.textContent = pair.refused || `${second} against ${first}: ${apart} of ${rows.length} intervals exclude zero.`;
    table.hidden = place.hidden = rows.length === 0;
    table.tBodies[0].replaceChildren(...rows.map(line));
    if (rows.length) chart(rows);
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.reset();
  apply();
}
