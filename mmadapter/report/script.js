
"use strict";
// The list of questions, with filters, order and pages. Every text becomes a text node: nothing here parses HTML.
(() => {
  const PAGE = 20;
  const LETTERS = "ABCDE";
  const byId = (id) => document.getElementById(id);
  const { systems, lectures, questions } = JSON.parse(byId("data").textContent);
  let pictures = null; // one long text until the first picture is shown
  const picture = (place) => {
    pictures ??= byId("pictures").textContent.split("\n");
    const [size, file] = pictures[place].split(" ");
    const [width, height] = size.split("x").map(Number);
    return { width, height, src: "data:image/webp;base64," + file };
  };

  // How a system answered a question: right, wrong, or with nothing that could be parsed.
  const outcome = (question, system) => {
    const prediction = question.systems[system][0];
    return prediction === null ? "unparsed" : prediction === question.answer ? "right" : "wrong";
  };
  const confidence = (question, system) => {
    const [prediction, probabilities] = question.systems[system];
    return probabilities === null || prediction === null ? null : probabilities[prediction];
  };
  const ofAnswer = (question, system) => question.systems[system][1]?.[question.answer] ?? null;
  const context = (question) => [
    question.image !== undefined && "image",
    question.text && "text",
    question.text === false && question.image === undefined && "neither",
  ];
  const words = questions.map((q) =>
    [q.pid, q.question, ...q.choices, q.hint ?? ""].join("\n").toLocaleLowerCase());

  const orders = new Map([
    ["original order", null],
    ["grade, lowest first", (q) => q.grade ?? null],
    ["shortest first", (q) => q.question.length + (q.hint ?? "").length],
    ["longest first", (q) => -q.question.length - (q.hint ?? "").length],
  ]);
  systems.forEach((name, s) => {
    if (questions.every((q) => q.systems[s][1] === null)) return;
    orders.set(`${name}: least confident first`, (q) => confidence(q, s));
    orders.set(`${name}: most confident first`, (q) => negated(confidence(q, s)));
    orders.set(`${name}: lowest probability of the answer first`, (q) => ofAnswer(q, s));
  });
  systems.forEach((name, s) => systems.slice(0, s).forEach((other, o) => {
    if (ofAnswer(questions[0], s) === null || ofAnswer(questions[0], o) === null) return;
    const gain = (q) => ofAnswer(q, s) - ofAnswer(q, o);
    orders.set(`${other} more confident in the answer than ${name}`, gain);
    orders.set(`${name} more confident in the answer than ${other}`, (q) => -gain(q));
  }));
  function negated(number) { return number === null ? null : -number; }

  const node = (name, options = {}, ...children) => {
    const { className, ...properties } = options;
    const made = Object.assign(document.createElement(name), properties);
    if (className) made.className = className;
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  };
  const fill = (id, values, first) => {
    byId(id).append(...[first, ...values].map((value, place) =>
      node("option", { value: place ? String(value) : "", textContent: String(value) })));
  };
  const distinct = (key) => [...new Set(questions.map((q) => q[key]).filter((value) => value !== undefined))];
  fill("subject", distinct("subject").sort(), "all");
  fill("topic", distinct("topic").sort(), "all");
  fill("grade", distinct("grade").sort((a, b) => a - b), "all");
  fill("context", ["image", "text", "neither"], "any");
  systems.forEach((_, s) => byId(`outcome-${s}`).append(...[["", "any"], ["right", "right"], ["wrong", "not right"],
    ["unparsed", "unparsed"]].map(([value, textContent]) => node("option", { value, textContent }))));
  const [first, ...others] = orders.keys();
  fill("sort", others, first);

  // With two systems: a button for each of the four cells of McNemar's table.
  const cells = systems.length === 2 ? [["right", "right", "both right"], ["right", "wrong", `only ${systems[0]}`],
    ["wrong", "right", `only ${systems[1]}`], ["wrong", "wrong", "both wrong"]] : [];
  const number = new Intl.NumberFormat("en");
  const fits = (q, s, wanted) => !wanted || (wanted === outcome(q, s)) || (wanted === "wrong" && outcome(q, s) === "unparsed");
  const quick = cells.map(([a, b, text]) => {
    const n = questions.filter((q) => fits(q, 0, a) && fits(q, 1, b)).length;
    const button = node("button", { type: "button", textContent: `${text}: ${number.format(n)}` });
    button.addEventListener("click", () => {
      const pressed = button.getAttribute("aria-pressed") === "true";
      byId("outcome-0").value = pressed ? "" : a;
      byId("outcome-1").value = pressed ? "" : b;
      select();
    });
    return button;
  });
  byId("quick").append(...quick);

  let shown = questions.map((_, place) => place);
  let page = 0;

  function select() {
    const value = Object.fromEntries([...byId("filters").elements].map((field) => [field.id, field.value]));
    const terms = value.search.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    shown = [];
    questions.forEach((q, place) => {
      if (value.subject && q.subject !== value.subject) return;
      if (value.topic && q.topic !== value.topic) return;
      if (value.grade && String(q.grade) !== value.grade) return;
      if (value.context && !context(q).includes(value.context)) return;
      if (!systems.every((_, s) => fits(q, s, value[`outcome-${s}`]))) return;
      if (!terms.every((term) => words[place].includes(term))) return;
      shown.push(place);
    });
    const key = orders.get(value.sort);
    if (key) {
      const keys = questions.map(key); // the unknown comes last, ties keep the original order
      shown.sort((a, b) => keys[a] === keys[b] ? a - b : keys[a] === null ? 1 : keys[b] === null ? -1 : keys[a] - keys[b]);
    }
    quick.forEach((button, at) => button.setAttribute("aria-pressed",
      String(value["outcome-0"] === cells[at][0] && value["outcome-1"] === cells[at][1])));
    page = 0;
    draw();
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    const percent = (s) => {
      const right = shown.filter((place) => outcome(questions[place], s) === "right").length;
      return `${systems[s]} ${(right / shown.length * 100).toFixed(2)} %`;
    };
    byId("count").replaceChildren(
      node("b", { textContent: number.format(shown.length) }),
      ` of ${number.format(questions.length)} questions`,
      shown.length ? `; right on these: ${systems.map((_, s) => percent(s)).join(", ")}` : ": none fits",
    );
    byId("list").replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map((place) => card(questions[place])));
    byId("page").textContent = `page ${page + 1} of ${pages}`;
    byId("first").disabled = byId("previous").disabled = page === 0;
    byId("last").disabled = byId("next").disabled = page === pages - 1;
    byId("pages").hidden = pages === 1;
  }

  function card(q) {
    const title = `question-${q.pid}`;
    const place = [q.subject, q.topic, q.skill].filter(Boolean).join(" \u203a ");
    const made = node("article", { tabIndex: -1 },
      node("p", { className: "meta" }, node("b", { textContent: q.pid }),
        [q.grade && ` \u00b7 grade ${q.grade}`, place && ` \u00b7 ${place}`].filter(Boolean).join("")),
      node("h3", { id: title, textContent: q.question }),
      q.hint ? node("p", { className: "hint", textContent: q.hint }) : null,
      q.image === undefined ? null : figure(q),
      options(q),
      ...texts(q));
    made.setAttribute("aria-labelledby", title);
    return made;
  }

  function figure(q) {
    if (q.image < 0) return node("div", { className: "picture" }, node("p", { textContent: `No picture: ${q.broken}` }));
    const alt = q.caption ? `Picture of question ${q.pid}: ${q.caption}` : `Picture of question ${q.pid}`;
    const image = node("img", { alt, loading: "lazy", decoding: "async", ...picture(q.image) });
    const button = node("button", { type: "button", title: "Enlarge" }, image);
    button.addEventListener("click", () => {
      const large = byId("enlarged").querySelector("img");
      large.src = image.src;
      large.alt = alt;
      byId("enlarged").showModal();
    });
    return node("div", { className: "picture" }, button);
  }

  function options(q) {
    const table = node("table", { className: systems.length > 2 ? "options" : "options roomy" });
    table.append(
      node("colgroup", {}, node("col"), ...systems.map(() => node("col", { className: "system" }))),
      node("thead", {}, node("tr", {},
        ...["option", ...systems].map((text) => node("th", { scope: "col", textContent: text })))),
      node("tbody", {}, ...q.choices.map((choice, place) => node("tr", { className: place === q.answer ? "gold" : "" },
        node("th", { scope: "row" }, `(${LETTERS[place]}) ${choice} `,
          place === q.answer ? node("span", { className: "tag", textContent: "\u2713 answer" }) : null),
        ...systems.map((_, s) => cell(q, place, s))))));
    return table;
  }

  function cell(q, place, s) {
    const [prediction, probabilities] = q.systems[s];
    const made = node("td");
    if (probabilities !== null) {
      const level = node("i", { className: `b${s % 6}` });
      level.style.width = `${probabilities[place] * 100}%`;
      made.append(node("span", { className: "meter" }, level), `${(probabilities[place] * 100).toFixed(1)} % `);
    }
    if (prediction === place) {
      const right = place === q.answer;
      made.append(node("span", {
        className: `chosen ${right ? "is-right" : "is-wrong"}`,
        textContent: right ? "\u25c6 right" : "\u25c7 wrong",
      }));
    }
    return made;
  }

  function texts(q) {
    const made = [];
    q.systems.forEach(([, , unparsed, output], s) => {
      if (unparsed) made.push(node("p", { className: "meta", textContent: `${systems[s]}: not parsed (${unparsed})` }));
      if (output) made.push(folded(`What ${systems[s]} wrote`, output));
    });
    const explanation = [q.solution, q.lecture === undefined ? null : lectures[q.lecture]].filter(Boolean);
    if (explanation.length) made.push(folded("Explanation", ...explanation));
    return made;
  }

  function folded(summary, ...paragraphs) {
    return node("details", {}, node("summary", { textContent: summary }),
      ...paragraphs.map((text) => node("p", { className: "prose", textContent: text })));
  }

  function turn(to) {
    page = to;
    draw();
    byId("filters").scrollIntoView();
    byId("list").firstElementChild.focus({ preventScroll: true });
  }

  byId("filters").hidden = false;
  byId("search").addEventListener("input", select);
  byId("filters").querySelectorAll("select").forEach((field) => field.addEventListener("change", select));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => setTimeout(select)); // after the fields are reset
  byId("first").addEventListener("click", () => turn(0));
  byId("previous").addEventListener("click", () => turn(page - 1));
  byId("next").addEventListener("click", () => turn(page + 1));
  byId("last").addEventListener("click", () => turn(Math.ceil(shown.length / PAGE) - 1));
  select(); // a reloaded page keeps what was filled in
})();
