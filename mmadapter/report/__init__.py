"""One self-contained page about systems and their answers: `page.report_html`.

`figures` draws with the marks of `svg`, `thumbnails` and `questions` prepare the list of questions, and
`template.html`, `style.css` and `script.js` are the page. Nothing here runs a model.
"""
