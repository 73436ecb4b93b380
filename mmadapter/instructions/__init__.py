"""Instructions (arXiv 2303.16199, sections 3 and 4), each as a problem with one option.

What is asked stands in `question`, the input in `hint`, the response is the only choice. So whatever reads, encodes,
trains, stores and answers problems does so with instructions; what differs is the template (`answer` "response").
"""
