// Draws the figures of the page in the colours of its theme and keeps them at the width of their places.
const plots = (() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement, button = document.getElementById("theme");
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
  const onPaper = "#444";
  const ink = () => isDark() ? "#c9d0d8" : onPaper;
  const save = (place, format) => {
    const {paper_bgcolor, font, ...layout} = place.layout;
    const figure = {data: place.data, layout: {...layout, paper_bgcolor: "#fff", font: {...font, color: onPaper}}};
    const size = {width: place.clientWidth, height: place.clientHeight, scale: 2};
    Plotly.downloadImage(figure, {format, filename: place.id, ...size});
  };
  const saves = ["png", "svg"].map((format) => ({
    name: format, title: `Download as ${format.toUpperCase()}`, click: (place) => save(place, format),
    icon: window.Plotly?.Icons[format === "png" ? "camera" : "disk"],
  }));
  const options = {
    responsive: true, displaylogo: false, displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
    modeBarButtonsToRemove: ["toImage", "lasso2d", "select2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "pan2d"],
    modeBarButtonsToAdd: saves,
  };
  const drawn = new Set();
  const draw = (place, {data, layout}) => {
    Plotly.react(place, data, {...layout, font: {...layout.font, color: ink()}}, options);
    const resize = () => { if (place.clientWidth) Plotly.Plots.resize(place); };  // not while it is hidden
    if (!drawn.has(place)) new ResizeObserver(resize).observe(place);
    drawn.add(place);
  };
  for (const source of document.querySelectorAll("script[data-for]")) {
    draw(document.getElementById(source.dataset.for), JSON.parse(source.textContent));
  }
  const paint = (colour) => { for (const place of drawn) Plotly.relayout(place, {"font.color": colour}); };
  const repaint = () => { button.setAttribute("aria-pressed", isDark()); paint(ink()); };
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; repaint(); });
  dark.addEventListener("change", repaint);
  addEventListener("beforeprint", () => paint(onPaper));
  addEventListener("afterprint", repaint);
  repaint();
  return {draw};
})();
