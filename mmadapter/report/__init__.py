"""A self-contained page about systems and the questions they answered: `page.report_html`.

`records` reads what a run's folder keeps, `figures` draws it with the marks of `svg`, `thumbnails` and `questions`
make what the page lists, and `template.html`, `style.css` and `script.js` are the page. Nothing here runs a model.
"""
