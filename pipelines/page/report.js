"use strict";
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const pick = document.getElementById("pick");
  const PRINT_PX = 680;
  const config = {
    displaylogo: false,
    responsive: true,
    displayModeBar: false,
    doubleClick: "reset",
    showTips: false,
  };

  // The page's ink and grid on a figure that has neither.
  function themed(layout) {
    const style = getComputedStyle(root);
    const value = (name) => style.getPropertyValue(name).trim();
    const ink = value("--ink"), line = value("--line");
    const dressed = {
      ...layout,
      font: { family: value("--sans"), size: 12, color: value("--soft") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      hoverlabel: {
        bgcolor: value("--panel"), bordercolor: line, font: { color: ink, size: 12 }, align: "left",
      },
    };
    for (const key of Object.keys(layout)) {
      if (!/^[xy]axis\d*$/.test(key)) continue;
      dressed[key] = {
        gridcolor: value("--grid"), linecolor: line, zerolinecolor: line, tickcolor: line,
        fixedrange: true, automargin: false, ...layout[key],
      };
      const title = layout[key].title;
      if (title) dressed[key].title = { standoff: 10, font: { size: 12 }, ...title };
    }
    for (const note of dressed.annotations || []) note.font = { ...note.font, color: ink };
    return dressed;
  }

  function draw(place, width) {
    const figure = figures[place.dataset.figure];
    if (!figure) return Promise.resolve();
    const layout = structuredClone(figure.layout);
    if (place.dataset.figure.startsWith("timeline")) layout.xaxis.fixedrange = false;
    if (width) layout.width = Math.min(width, place.clientWidth || width);
    place.style.minHeight = `${layout.height}px`;
    const ink = getComputedStyle(root).getPropertyValue("--ink").trim();
    const data = figure.data.map((trace) =>
      trace.texttemplate ? { ...trace, textfont: { color: ink } } : trace);
    return Plotly.react(place, data, themed(layout), config);
  }

  function drawAll(width) {
    return Promise.all(plots.map((place) => draw(place, width)));
  }

  if (pick) {
    const place = document.querySelector('.plot[data-figure^="timeline"]');
    const tell = () => {
      const option = pick.selectedOptions[0];
      document.getElementById("note").textContent = option ? option.dataset.note : "";
    };
    pick.addEventListener("change", () => {
      place.dataset.figure = pick.value;
      tell();
      Plotly.purge(place);
      draw(place);
    });
    tell();
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
  addEventListener("beforeprint", () => {
    root.classList.add("print");
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    for (const place of plots) {
      const half = place.closest(".grid") ? PRINT_PX / 2 - 22 : PRINT_PX;
      draw(place, half);
    }
  });
  addEventListener("afterprint", () => {
    root.classList.remove("print");
    drawAll();
  });
  drawAll().then(() => { root.dataset.drawn = String(plots.length); });
})();
