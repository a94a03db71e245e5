// Membrane histograms: one figure, a layer from a list and an epoch from a slider, whose last stop is the judged network.
// The figure of a layer comes as it is at that stop; for an epoch the logged bins and their Gaussian take its place.
for (const form of document.querySelectorAll("form.membranes")) {
  const {edges, stops, layers} = JSON.parse(document.getElementById("membrane-data").textContent);
  const place = document.getElementById("membrane"), said = document.getElementById("membrane-said");
  const {layer: picker, epoch: slider} = form.elements;
  const bell = (x, mean, std) => Math.exp(-(((x - mean) / std) ** 2) / 2) / (std * Math.sqrt(2 * Math.PI));
  const centres = edges.slice(1).map((edge, i) => (edge + edges[i]) / 2);
  const density = (counts) => {
    const total = counts.reduce((sum, n) => sum + n, 0) || 1;
    return counts.map((n, i) => n / total / (edges[i + 1] - edges[i]));
  };
  const number = (value, digits) => value === null ? "unknown" : value.toFixed(digits).replace("-", "−");
  const at = (line, epoch) => {  // what was logged last before the epoch or at it
    const seen = epoch === null ? [] : line.logged.filter((entry) => entry.epoch <= epoch);
    return seen.at(-1) ?? line.judged;
  };
  const apply = () => {
    const {name, figure, lines} = layers[picker.value], epoch = stops[slider.value];
    const words = lines.map((line) => {
      const {mean, std, overlap} = at(line, epoch);
      const inside = overlap === null ? "unknown" : `${number(100 * overlap, 1)} %`;
      return `${line.name}: mean ${number(mean, 2)}, std ${number(std, 2)}, ${inside} inside the window`;
    });
    const data = figure.data.map((trace) => {
      const {counts, mean, std} = at(lines.find((line) => line.group === trace.legendgroup), epoch);
      if (!counts) return trace;
      if (!trace.name) return {...trace, y: trace.x.map((x) => bell(x, mean, std))};
      const hovertemplate = "%{x:.3g}: %{y:.3g}<extra>%{fullData.name}</extra>";
      return {...trace, x: centres, y: density(counts), hovertemplate};
    });
    const when = epoch === null ? "the judged network" : `epoch ${epoch}`;
    slider.setAttribute("aria-valuetext", when);
    form.querySelector("output").textContent = when;
    said.textContent = `Layer ${name}, ${when}. ${words.join("; ")}.`;
    plots.draw(place, {data, layout: figure.layout});
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.reset();
  apply();
}
