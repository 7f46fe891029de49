// From a folder (file:) a browser allows the theme's search neither a worker nor a request: there the index is a script.
if (location.protocol === "file:" && document.getElementById("mkdocs-search-results")) {
  const load = (name) => new Promise((done) => {
    const script = document.createElement("script");
    script.src = `${base_url}/search/${name}`;
    script.onload = done;
    document.head.append(script);
  });
  load("lunr.js").then(() => load("index.js")).then(() => {
    const places = Object.fromEntries(site_index.map((place) => [place.location, place]));
    const index = lunr(function () {
      this.ref("location");
      this.field("title", { boost: 10 });
      this.field("text");
      site_index.forEach((place) => this.add(place));
    });
    const shown = (hit) => ({ ...places[hit.ref], summary: places[hit.ref].text.slice(0, 200) });
    min_search_length = 2;
    searchWorker = { postMessage: ({ query }) => displayResults(index.search(query).map(shown)) };
    initSearch();
  });
}
