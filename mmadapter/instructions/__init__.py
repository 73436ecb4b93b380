"""Instructions (arXiv 2303.16199, sections 3 and 4), each stored as a problem with one option.

The instruction is the `question`, its input the `hint`, the response the only choice. So the code that reads, encodes,
trains, stores and answers problems works for instructions too; only the prompt differs (`answer` "response").
"""
